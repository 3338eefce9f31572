import { join } from "node:path";
import type { Command } from "commander";
import type { JwkSet } from "../issuer/issuer.ts";
import {
  type ConfigurationFlags,
  configOption,
  configurationFileOf,
  readConfiguration,
} from "./configuration.ts";
import { copySettingsOf } from "./static-issuer/copy-settings.ts";
import { JWKS_PATH } from "./static-issuer/documents.ts";
import { bringUpToDate, type Copy, keepCopy } from "./static-issuer/keep-copy.ts";
import type { CopiedDocument } from "./static-issuer/write-copy.ts";
import { awaitStop } from "./stop-signals.ts";
import { UsageError } from "./usage-error.ts";

/** `countersign issuer`: the issuer without a sidecar that answers for it. */
export function addIssuerCommand(program: Command): Command {
  const issuer = program
    .command("issuer")
    .summary("write the issuer's documents as files, to host elsewhere")
    .description(
      "Writes what verifiers read of the issuer as files, for those that cannot reach the sidecar: clouds, other networks.",
    );
  addExport(issuer);
  return issuer;
}

interface ExportFlags extends Pick<ConfigurationFlags, "config"> {
  readonly watch?: true;
  readonly json?: true;
}

function addExport(issuer: Command): void {
  issuer
    .command("export")
    .summary("write the discovery document and the JWK Set")
    .description(
      "Writes the discovery document and the JWK Set below a folder that stands for issuer.url, with what the sidecar would answer, and says where each belongs. Keys that do not sign yet are among them, so verifiers have each key before it signs where the copy is renewed every issuer.keys.overlap, less the time for which they keep it. No key is made, and files that say the same already are not touched.",
    )
    .argument("<dir>", "the folder, for these files alone; it is made where it is not there")
    .addOption(configOption())
    .option("--watch", "stay, and keep the files as the keys are")
    .option("--json", "print what was written as JSON; with --watch an object a line")
    .action(async (directory: string, flags: ExportFlags) => {
      if (directory === "") throw new UsageError("expected a folder");
      if (flags.watch) return watch(directory, flags);
      // What is doubtful about the sidecar is not said here: it is for validate.
      const settings = await copySettingsOf(await readConfiguration(flags), directory);
      const copy = await bringUpToDate(directory, settings, Date.now());
      for (const warning of copy.warnings) console.error(`warning: ${warning}`);
      const { jwksMaxAgeSeconds } = settings.config.issuer;
      console.log(
        flags.json
          ? JSON.stringify(exportOf(directory, settings.url, copy, jwksMaxAgeSeconds), undefined, 2)
          : textOf(directory, settings.url, copy, jwksMaxAgeSeconds),
      );
    });
}

const CONTENT_TYPE = "application/json";

function exportOf(directory: string, issuer: string, { documents, jwks }: Copy, maxAgeSeconds: number) {
  return {
    issuer,
    contentType: CONTENT_TYPE,
    cacheControl: cacheControlOf(maxAgeSeconds),
    files: documents.map(({ path, url, isWritten }) => ({
      file: join(directory, path),
      url,
      written: isWritten,
    })),
    keys: keysIn(jwks),
  };
}

function keysIn({ keys }: JwkSet) {
  return keys.map(({ kid, alg }) => ({ kid, alg }));
}

function cacheControlOf(maxAgeSeconds: number): string {
  return `public, max-age=${maxAgeSeconds}`;
}

function textOf(directory: string, issuer: string, { documents }: Copy, maxAgeSeconds: number): string {
  const width = Math.max(...documents.map(({ path }) => join(directory, path).length));
  const lines = documents.map(
    ({ path, url, isWritten }) =>
      `${isWritten ? "written  " : "unchanged"}  ${join(directory, path).padEnd(width)}  ${url}`,
  );
  lines.push(
    `Upload them in this order, each with Content-Type: ${CONTENT_TYPE} and Cache-Control: ${cacheControlOf(maxAgeSeconds)}; then: countersign doctor`,
  );
  if (new URL(issuer).pathname !== "/")
    lines.push(
      "The last belongs to the root of the host (RFC 8414): clients of OAuth read it, clouds do not.",
    );
  return lines.join("\n");
}

async function watch(directory: string, flags: ExportFlags): Promise<void> {
  using stop = awaitStop();
  let told: readonly string[] = [];
  const copy = await keepCopy({
    directory,
    file: configurationFileOf(flags),
    read: () => readConfiguration(flags),
    now: Date.now,
    onCopy({ documents, jwks, warnings }) {
      for (const warning of warnings.filter((one) => !told.includes(one)))
        console.error(`${timestamp()} warning: ${warning}`);
      told = warnings;
      for (const document of documents.filter(({ isWritten }) => isWritten))
        console.log(lineOf(directory, document, jwks, flags));
    },
    onHealth(health) {
      const message =
        health.kind === "problem" ? `error: ${health.message}` : `${directory} is kept up to date again`;
      console.error(`${timestamp()} ${message}`);
    },
  });
  await stop.stopped;
  await copy.close();
}

function timestamp(): string {
  return new Date().toISOString();
}

/** One change, on a line. */
function lineOf(
  directory: string,
  { path, url }: CopiedDocument,
  jwks: JwkSet,
  { json }: ExportFlags,
): string {
  const file = join(directory, path);
  const keys = path === JWKS_PATH ? keysIn(jwks) : undefined;
  if (json) return JSON.stringify({ time: timestamp(), file, url, keys });
  const names = keys?.map(({ kid, alg }) => `${alg} ${kid}`).join(", ");
  return `${timestamp()} written ${file}${names === undefined ? "" : `: ${names}`}`;
}
