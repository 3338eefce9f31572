import type { Config } from "../config/config.ts";
import { keyNeedsOf } from "../config/key-needs.ts";
import { isWildcard } from "../config/wildcard.ts";
import type { ListenOptions } from "../gateway/listen/listen-options.ts";
import { formatUpstream } from "../gateway/upstream/upstream-options.ts";
import type { KeySource } from "../issuer/keys/key-source.ts";
import { nameOfPlace } from "../issuer/keys/pkcs11/token-keys.ts";
import { describePlace } from "../issuer/keys/redis/redis-options.ts";
import type { Log, LogFields } from "../observability/log.ts";
import { createSidecar } from "../sidecar.ts";
import type { RunningSidecar, Sidecar } from "../sidecar-api.ts";
import { loggedBy, logRejection } from "./log-events.ts";
import { keepRequestsYoung } from "./young-requests.ts";

/** A sidecar that has been started. */
export interface StartedSidecar {
  readonly sidecar: Sidecar;
  readonly running: RunningSidecar;
  /** The configuration in use. */
  config(): Config;
  /**
   * Puts another configuration in the place of the one that the sidecar and its log use.
   *
   * @returns the keys that have no effect before a restart
   * @throws {Error} what `load` throws, and what cannot be opened
   */
  reload(load: () => Config | Promise<Config>): Promise<readonly string[]>;
}

/**
 * Starts a sidecar that tells a log of its requests, its keys, and everything else.
 *
 * @param metricsText gives what `/metrics` answers. Default: what this process has counted
 */
export async function startSidecar(
  config: Config,
  log: Log,
  metricsText?: () => Promise<string>,
): Promise<StartedSidecar> {
  keepRequestsYoung();
  const sidecar = createSidecar(config, { ...loggedBy(log), metricsText });
  surviveRejections(config, log);
  const running = await sidecar.start();
  let current = config;
  return {
    sidecar,
    running,
    config: () => current,
    async reload(load) {
      const outcome = await sidecar.reload(async () => {
        const next = await load();
        surviveRejections(next, log);
        return next;
      });
      current = outcome.config;
      log.adapt(current.log);
      return outcome.needsRestart;
    },
  };
}

let survivesRejections = false;

/** A promise that the code of a policy leaves to itself must not end the sidecar. */
function surviveRejections({ policies }: Config, log: Log): void {
  if (survivesRejections || !policies.some(({ module }) => module)) return;
  survivesRejections = true;
  process.on("unhandledRejection", (reason) => logRejection(log, reason));
}

/** What runs where, in words and as members of a line of the log. */
export interface Description {
  readonly text: string;
  readonly message: string;
  readonly fields: LogFields;
}

/** Says what runs where. */
export function describeRunning(config: Config, { urls, adminUrl, issuer }: RunningSidecar): Description {
  const { keys } = issuer.jwks();
  const algorithms = [...new Set(keyNeedsOf(config).map(({ algorithm }) => algorithm))];
  const upstreams = originsOf(config);
  const source = describeSource(config.issuer.keys);
  // Of each algorithm the key that signs is first.
  const signing = algorithms.map((algorithm) => ({
    algorithm,
    kid: keys.find(({ alg }) => alg === algorithm)?.kid,
  }));
  const lines = [
    ...urls.map((url, index) => {
      const { address } = config.listen[index] as ListenOptions;
      const others = isWildcard(address) ? " (and on every other address of this machine)" : "";
      return `${index === 0 ? "listening on " : "         and "} ${url}${others}`;
    }),
    ...(config.issuerOnly ? ["forwarding    nothing: the issuer's endpoints alone are served"] : []),
    ...upstreams.map((origin, index) => `${index === 0 ? "forwarding to" : "          and"} ${origin}`),
    `issuer        ${issuer.url}`,
    ...signing.map(({ algorithm, kid }) => `signing with  ${algorithm}, key ${kid} ${source}`),
    ...(adminUrl === undefined ? [] : [`operators     ${adminUrl}`]),
  ];
  return {
    text: lines.join("\n"),
    message: `listening on ${urls.join(" and ")}`,
    fields: { listen: urls, upstreams, issuer: issuer.url, signing, keys: source, admin: adminUrl },
  };
}

/** The upstream at the top is first, as most requests go there. */
function originsOf({ upstream, policies, issuerOnly }: Config): string[] {
  if (issuerOnly) return [];
  return [...new Set([upstream, ...policies.map((policy) => policy.upstream)].map(formatUpstream))];
}

function describeSource(source: KeySource): string {
  if (source.kind === "directory") return `in ${source.directory}`;
  if (source.kind === "redis") return `in ${describePlace(source.redis.place)}`;
  if (source.kind === "files") return `from ${source.files.join(", ")}`;
  if (source.kind === "pkcs11") return `on ${nameOfPlace(source.place)}`;
  return source.kind === "env" ? `from $${source.variable}` : "in memory";
}
