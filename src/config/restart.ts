import { isDeepStrictEqual } from "node:util";
import { isSameSource } from "../issuer/keys/key-source.ts";
import type { Config } from "./config.ts";

/** A configuration that can take the place of a running one. */
export interface Adoption {
  /** The next one, with what the running one cannot change. */
  readonly config: Config;
  /** The keys of the next one that have no effect before a restart, such as `listen`. */
  readonly needsRestart: readonly string[];
}

/** What is decided when the process starts, by the key that says so. */
const FIXED: Readonly<Record<string, (config: Config) => unknown>> = {
  listen: ({ listen }) => listen,
  admin: ({ admin }) => admin,
  workers: ({ workers }) => workers,
  "limits.headerBytes": ({ limits }) => limits.headerBytes,
  "limits.headerCount": ({ limits }) => limits.headerCount,
  "limits.connections": ({ limits }) => limits.connections,
  "limits.streams": ({ limits }) => limits.streams,
  "timeouts.headers": ({ timeouts }) => timeouts.headersSeconds,
  "timeouts.request": ({ timeouts }) => timeouts.requestSeconds,
  "timeouts.send": ({ timeouts }) => timeouts.sendSeconds,
  "timeouts.keepAlive": ({ timeouts }) => timeouts.keepAliveSeconds,
  "log.format": ({ log }) => log.format,
  "issuer.url": ({ issuer }) => issuer.url,
  "issuer.basePath": ({ issuer }) => issuer.basePath,
};

/** What can be adopted of `next` while `running` is in use. */
export function adoptionOf(next: Config, running: Config): Adoption {
  const needsRestart = Object.entries(FIXED).flatMap(([key, valueIn]) =>
    isDeepStrictEqual(valueIn(next), valueIn(running)) ? [] : [key],
  );
  const hasSameKeys = isSameSource(next.issuer.keys, running.issuer.keys);
  if (!hasSameKeys) needsRestart.push("issuer.keys");
  const config: Config = {
    ...next,
    listen: running.listen,
    admin: running.admin,
    workers: running.workers,
    limits: { ...running.limits, bodyBytes: next.limits.bodyBytes },
    timeouts: {
      ...running.timeouts,
      notReadySeconds: next.timeouts.notReadySeconds,
      drainSeconds: next.timeouts.drainSeconds,
    },
    log: { ...next.log, format: running.log.format },
    issuer: {
      ...next.issuer,
      url: running.issuer.url,
      basePath: running.issuer.basePath,
      keys: hasSameKeys ? next.issuer.keys : running.issuer.keys,
    },
  };
  return { config, needsRestart };
}
