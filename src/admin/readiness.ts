import type { OriginHealth } from "../gateway/upstream/health-check.ts";
import type { IdentityFileStatus } from "../issuer/identity-files/identity-files.ts";
import type { AdaptableKeys } from "../issuer/keys/key-set.ts";
import type { KeyNeed } from "../issuer/keys/ring.ts";

/** One thing that has to be right for requests to be answered. */
export interface ReadinessCheck {
  /** Such as `keys`; no two checks have the same. */
  readonly name: string;
  readonly isReady: boolean;
  /** Why it is not ready, or what is wrong although it is. It is shown to whoever reaches the operators' listener. */
  readonly reason?: string | undefined;
}

/** Looks at things as they are at this moment; it waits for nothing. */
export type ReadinessSource = () => readonly ReadinessCheck[];

/** One source of several. */
export function readinessOf(sources: readonly ReadinessSource[]): ReadinessSource {
  return () => sources.flatMap((source) => source());
}

/**
 * Before there are keys.
 *
 * @param problem why there are none yet
 */
export function startingReadiness(problem: () => string | undefined): ReadinessSource {
  return () => [{ name: "keys", isReady: false, reason: problem() ?? "the keys are being read" }];
}

/** Whether this machine's clock is near enough to that of the store which replicas share; no check where they share none. */
export function clockReadiness({ sharing }: Pick<AdaptableKeys, "sharing">): ReadinessSource {
  return () => {
    const status = sharing();
    if (!status) return [];
    const { clockProblem: reason } = status;
    return [{ name: "clock", isReady: reason === undefined, reason }];
  };
}

/**
 * Whether there is a key for each need that signs. A source of keys that cannot be read or written is told of, but the
 * keys in memory go on signing, so that all replicas over one disk do not stop answering at once; those that are kept
 * elsewhere may be out of reach.
 *
 * @param problem what is wrong with the source at this moment
 */
export function keysReadiness(
  keys: Pick<AdaptableKeys, "current" | "canSign">,
  needs: () => readonly KeyNeed[],
  problem: () => string | undefined,
): ReadinessSource {
  return () => {
    const current = keys.current();
    const missing = needs().find(({ purpose, algorithm }) => !current.activeKey(purpose, algorithm));
    const lacking = missing && `there is no ${missing.algorithm} key that signs`;
    // What is wrong now says why they could not be read for so long.
    const reasons = current.withheld === undefined ? [lacking ?? problem()] : [current.withheld, problem()];
    const reason = reasons.filter((one) => one !== undefined).join("; ") || undefined;
    return [{ name: "keys", isReady: !missing && keys.canSign(), reason }];
  };
}

/**
 * What is wrong with the configuration that was to take the place of the one in use, which goes on.
 *
 * @param problem why it could not; `undefined` where it did not
 */
export function configurationReadiness(problem: () => string | undefined): ReadinessSource {
  return () => [{ name: "configuration", isReady: true, reason: problem() }];
}

/**
 * Whether each file holds a token that is good. One that is, although the next cannot be written, is told of.
 *
 * @param now milliseconds since the epoch
 */
export function identityFilesReadiness(
  status: () => readonly IdentityFileStatus[],
  now: () => number,
): ReadinessSource {
  return () =>
    status().map(({ path, expiresAt = 0, problem }) => {
      const isReady = now() < expiresAt;
      const reason = problem ?? (isReady ? undefined : "it holds no good token yet");
      return { name: `identity file ${path}`, isReady, reason };
    });
}

/** Whether every backend that is asked how it is was well the last time. One that has not answered yet is not known to be. */
export function upstreamReadiness(upstreamHealth: () => readonly OriginHealth[]): ReadinessSource {
  return () =>
    upstreamHealth()
      .map((health) => ({
        name: `upstream ${health.origin}`,
        isReady: health.state === "healthy",
        reason: reasonOf(health),
      }))
      // Of two for one backend the one that is not ready counts.
      .toSorted((a, b) => Number(b.isReady) - Number(a.isReady));
}

function reasonOf(health: OriginHealth): string | undefined {
  if (health.state === "unknown") return "it has not answered yet";
  return health.state === "unhealthy" ? health.reason : undefined;
}
