import type { Config } from "../config/config.ts";
import { isWildcard } from "../config/wildcard.ts";
import type { RequestFailure } from "../gateway/handle-request.ts";
import { createSidecar, type RunningSidecar, type Sidecar } from "../sidecar.ts";

/** Starts a sidecar that tells of failed requests on standard error. */
export async function startSidecar(config: Config): Promise<{ sidecar: Sidecar; running: RunningSidecar }> {
  const sidecar = createSidecar(config, { onFailure: printFailure });
  return { sidecar, running: await sidecar.start() };
}

/** Says what runs where. */
export function describeRunning(config: Config, { url, issuer }: RunningSidecar): string {
  const [key] = issuer.jwks().keys;
  const { keys } = config.issuer;
  const place = { directory: "in ", env: "from $", ephemeral: "in memory" }[keys.kind];
  const name = keys.kind === "directory" ? keys.directory : keys.kind === "env" ? keys.variable : "";
  return [
    `listening on  ${url}${isWildcard(config.listen) ? " (and on every other address of this machine)" : ""}`,
    `forwarding to ${config.upstream.origin}`,
    `issuer        ${issuer.url}`,
    `signing with  ${key?.alg}, key ${key?.kid} ${place}${name}`,
  ].join("\n");
}

function printFailure({ code, detail, requestId, cause }: RequestFailure): void {
  console.error(
    `${new Date().toISOString()} ${code} request ${requestId}: ${detail}: ${escapeControls(cause)}`,
  );
}

/** What a peer sent must not forge a line of the log, nor steer the terminal that shows it. */
export function escapeControls(text: string): string {
  // JSON leaves DEL, the C1 controls and the Unicode line ends as they are.
  return JSON.stringify(text)
    .slice(1, -1)
    .replaceAll(
      /[\x7f-\x9f\u2028\u2029]/g,
      (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
}

/** Waits for SIGTERM or SIGINT, then closes; the same signal once more ends the process at once. */
export async function closeOnSignal(close: () => Promise<void>): Promise<void> {
  const signal = await new Promise<NodeJS.Signals>((resolve) => {
    process.once("SIGTERM", resolve);
    process.once("SIGINT", resolve);
  });
  // Said aloud, because process 1 of a container ignores a signal that it has no handler for.
  for (const again of ["SIGTERM", "SIGINT"] as const) process.once(again, () => process.exit(1));
  console.error(`\n${signal}: finishing the requests under way; a second signal ends at once`);
  await close();
  // Whatever a library still holds open must not keep a stopped sidecar alive.
  process.exit();
}
