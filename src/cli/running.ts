import type { Config } from "../config/config.ts";
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
  const { host } = config.listen;
  const isWildcard = host === undefined || host === "0.0.0.0" || host === "::";
  return [
    `listening on  ${url}${isWildcard ? " (and on every other address of this machine)" : ""}`,
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

/** What a peer sent must not forge a line of the log. */
function escapeControls(text: string): string {
  return JSON.stringify(text).slice(1, -1);
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
