import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Finding } from "../../../src/cli/doctor/finding.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { startSidecar, type TestSidecar } from "../../support/sidecar.ts";
import { runHere } from "../in-process.ts";

/** A sidecar that runs, and beside it a folder whose `sidecar.yaml` and keys are its own. */
export interface ExaminedSidecar extends AsyncDisposable {
  readonly sidecar: TestSidecar;
  readonly folder: string;
  /** Writes other YAML below `listen`, `admin`, `upstream` and `issuer.keys`. */
  configure(changes: { readonly issuer?: string; readonly yaml?: string }): void;
}

/**
 * Starts a sidecar with keys in a directory.
 *
 * @param yaml below `upstream`; of `issuer` what stands beside `keys`, such as `, algorithm: RS256`
 */
export async function startExamined(
  upstream: string,
  { issuer = "", yaml = "" }: { readonly issuer?: string; readonly yaml?: string } = {},
): Promise<ExaminedSidecar> {
  const folder = temporaryFolder();
  const keys = (others: string) => `issuer: {keys: {directory: ${folder.path}/keys}${others}}\n`;
  const sidecar = await startSidecar(upstream, {
    yaml: `${keys(issuer)}${/^admin:/m.test(yaml) ? "" : "admin: 127.0.0.1:0\n"}${yaml}`,
  });
  const admin = /^admin:/m.test(yaml) ? "" : `admin: ${new URL(sidecar.adminUrl ?? "").host}\n`;
  const listen = /^listen:/m.test(yaml) ? "" : `listen: 127.0.0.1:${sidecar.port}\n`;
  const configure: ExaminedSidecar["configure"] = (changes) =>
    writeFileSync(
      join(folder.path, "sidecar.yaml"),
      `upstream: ${upstream}\n${listen}${admin}${keys(changes.issuer ?? issuer)}${changes.yaml ?? yaml}`,
    );
  configure({});
  return {
    sidecar,
    folder: folder.path,
    configure,
    async [Symbol.asyncDispose]() {
      await sidecar.close();
      folder[Symbol.dispose]();
    },
  };
}

/** What `doctor --json` said. */
export interface Diagnosis {
  readonly code: number | null;
  readonly text: string;
  readonly findings: readonly Finding[];
  /** The findings of one check. */
  of(check: string): readonly Finding[];
}

/** Runs `countersign doctor` in a folder. */
export async function examine(folder: string, ...arguments_: string[]): Promise<Diagnosis> {
  const { code, stdout, stderr } = await runHere(["doctor", "--json", ...arguments_], { cwd: folder });
  if (stderr !== "") throw new Error(stderr);
  const { findings } = JSON.parse(stdout) as { findings: Finding[] };
  return { code, text: stdout, findings, of: (check) => findings.filter((one) => one.check === check) };
}
