import { renameSync, writeFileSync } from "node:fs";
import { startBackend } from "./backend.ts";
import type { RunningCommand } from "./command-line.ts";

/** Two configurations that differ in their backend, their token's field and its audience. */
export interface TwoConfigurations extends AsyncDisposable {
  /** The YAML of each; what is the same in both is in front. */
  readonly texts: readonly [string, string];
}

/**
 * Starts the backends of two configurations. Each answers 200 "ok" to a request that has the token of its own and no other,
 * and 500 to one that two configurations have made.
 *
 * @param yaml what both have
 */
export async function startTwoConfigurations(yaml: string): Promise<TwoConfigurations> {
  const start = (number: number) =>
    startBackend(({ headers }, response) => {
      const fields = Object.keys(headers).filter((name) => name.startsWith("x-token"));
      const claims = String(headers[`x-token-${number}`]).split(".")[1] ?? "";
      const isWhole =
        fields.length === 1 && Buffer.from(claims, "base64url").toString().includes(`"aud-${number}"`);
      response.statusCode = isWhole ? 200 : 500;
      response.end(isWhole ? "ok" : `mixed: ${fields.join(", ")}`);
    });
  const [one, two] = [await start(1), await start(2)];
  const textOf = (url: string, number: number) =>
    `${yaml}upstream: ${url}\ntoken: {audience: aud-${number}, headerName: X-Token-${number}}\n`;
  return {
    texts: [textOf(one.url, 1), textOf(two.url, 2)],
    async [Symbol.asyncDispose]() {
      await one[Symbol.asyncDispose]();
      await two[Symbol.asyncDispose]();
    },
  };
}

/** How often a sidecar has said that another configuration is used. */
export function timesUsed(sidecar: RunningCommand): number {
  return sidecar.output().stderr.split("is used from now on").length - 1;
}

/** How often a sidecar has said that a configuration cannot be used. */
export function timesRefused(sidecar: RunningCommand): number {
  return sidecar.output().stderr.split("cannot be used").length - 1;
}

/** Puts another file in the place of one, as editors do. */
export function replaceFile(file: string, text: string): void {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}
