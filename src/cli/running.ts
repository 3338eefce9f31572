import type { Config } from "../config/config.ts";
import { keyNeedsOf } from "../config/key-needs.ts";
import { isWildcard } from "../config/wildcard.ts";
import { reasonOf } from "../errors.ts";
import type { RequestFailure } from "../gateway/handle-request.ts";
import type { ListenOptions } from "../gateway/listen/listen-options.ts";
import { formatUpstream } from "../gateway/upstream/upstream-options.ts";
import type { KeyEvent } from "../issuer/keys/key-set.ts";
import type { KeySource } from "../issuer/keys/key-source.ts";
import type { PolicyEvent } from "../open-routes.ts";
import { createSidecar, type ListenerEvent, type RunningSidecar, type Sidecar } from "../sidecar.ts";
import { escapeControls } from "./printable.ts";

/** A sidecar that has been started. */
export interface StartedSidecar {
  readonly sidecar: Sidecar;
  readonly running: RunningSidecar;
  /** The configuration in use. */
  config(): Config;
  /**
   * Puts another configuration in the place of the one in use.
   *
   * @returns the keys that have no effect before a restart
   * @throws {Error} what `load` throws, and what cannot be opened
   */
  reload(load: () => Config | Promise<Config>): Promise<readonly string[]>;
}

/**
 * Starts a sidecar that tells of failed requests, and of its keys, on standard error.
 *
 * @param metricsText gives what `/metrics` answers. Default: what this process has counted
 */
export async function startSidecar(
  config: Config,
  metricsText?: () => Promise<string>,
): Promise<StartedSidecar> {
  const sidecar = createSidecar(config, {
    onFailure: printFailure,
    onKeyEvent: printKeyEvent,
    onPolicyEvent: printEvent,
    onListenerEvent: printEvent,
    onTracingEvent: (event) => printEvent({ key: "traces", ...event }),
    metricsText,
  });
  surviveRejections(config);
  const running = await sidecar.start();
  let current = config;
  return {
    sidecar,
    running,
    config: () => current,
    async reload(load) {
      const outcome = await sidecar.reload(async () => {
        const next = await load();
        surviveRejections(next);
        return next;
      });
      current = outcome.config;
      return outcome.needsRestart;
    },
  };
}

/** A promise that the code of a policy leaves to itself must not end the sidecar. */
function surviveRejections({ policies }: Config): void {
  if (
    policies.some(({ module }) => module) &&
    !process.listeners("unhandledRejection").includes(printRejection)
  )
    process.on("unhandledRejection", printRejection);
}

/** Says what runs where. */
export function describeRunning(config: Config, { urls, adminUrl, issuer }: RunningSidecar): string {
  const { keys } = issuer.jwks();
  const algorithms = new Set(keyNeedsOf(config).map(({ algorithm }) => algorithm));
  return [
    ...urls.map((url, index) => {
      const { address } = config.listen[index] as ListenOptions;
      const others = isWildcard(address) ? " (and on every other address of this machine)" : "";
      return `${index === 0 ? "listening on " : "         and "} ${url}${others}`;
    }),
    ...[...originsOf(config)].map(
      (origin, index) => `${index === 0 ? "forwarding to" : "          and"} ${origin}`,
    ),
    `issuer        ${issuer.url}`,
    // Of each algorithm the key that signs is first.
    ...[...algorithms].map((algorithm) => {
      const kid = keys.find(({ alg }) => alg === algorithm)?.kid;
      return `signing with  ${algorithm}, key ${kid} ${describeSource(config.issuer.keys)}`;
    }),
    ...(adminUrl === undefined ? [] : [`operators     ${adminUrl}`]),
  ].join("\n");
}

/** The upstream at the top is first, as most requests go there. */
function originsOf({ upstream, policies }: Config): Set<string> {
  return new Set([upstream, ...policies.map((policy) => policy.upstream)].map(formatUpstream));
}

function describeSource(source: KeySource): string {
  if (source.kind === "directory") return `in ${source.directory}`;
  if (source.kind === "files") return `from ${source.files.join(", ")}`;
  return source.kind === "env" ? `from $${source.variable}` : "in memory";
}

function printKeyEvent(event: KeyEvent): void {
  console.error(`${new Date().toISOString()} ${describeKeyEvent(event)}`);
}

function printEvent({ key, kind, message }: PolicyEvent | ListenerEvent): void {
  const level = kind === "problem" ? "warning: " : "";
  console.error(`${new Date().toISOString()} ${level}${key}: ${escapeControls(message)}`);
}

function printRejection(reason: unknown): void {
  console.error(
    `${new Date().toISOString()} warning: a promise was rejected that nobody waits for: ${escapeControls(reasonOf(reason))}`,
  );
}

/** What happened to the keys, in a line. */
function describeKeyEvent(event: KeyEvent): string {
  if (event.kind === "problem")
    return `ERR_KEY the keys cannot be read or written, and those in memory go on: ${escapeControls(event.message)}`;
  if (event.kind === "recovered") return "the keys can be read and written again";
  if (event.kind === "warning") return `warning: ${event.message}`;
  const { algorithm, kid, until } = event;
  const time = until === undefined ? undefined : new Date(until).toISOString();
  return `${algorithm} key ${kid} ${
    {
      pending: time ? `is published, and signs from ${time}` : "is published, and will sign",
      active: "signs from now on",
      retiring: `signs no more, and is published until ${time}`,
      gone: "is gone",
    }[event.state]
  }`;
}

function printFailure({ code, detail, requestId, cause }: RequestFailure): void {
  console.error(
    `${new Date().toISOString()} ${code} request ${requestId}: ${detail}: ${escapeControls(cause)}`,
  );
}
