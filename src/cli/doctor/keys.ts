import type { Config } from "../../config/config.ts";
import { keyNeedsOf } from "../../config/key-needs.ts";
import { KeyError } from "../../issuer/keys/key-error.ts";
import type { KeySet } from "../../issuer/keys/key-set.ts";
import { type KeySource, rotationOf } from "../../issuer/keys/key-source.ts";
import { describePlace } from "../../issuer/keys/redis/redis-options.ts";
import { isRotationDue, type KeyNeed, type Ring, type Rotation } from "../../issuer/keys/ring.ts";
import { type LiveKeys, readLiveKeys } from "../live-keys.ts";
import { type Finding, fail, ok, warn } from "./finding.ts";

/** What was found out about the keys. */
export interface CheckedKeys {
  readonly findings: readonly Finding[];
  /** The keys as they are on disk; `undefined` where they cannot be read, or only the sidecar has them. */
  readonly live: LiveKeys | undefined;
}

const CHECK = "keys";
const ROTATION = "rotation";
/** A sidecar that runs does what is due within a minute. */
const OVERDUE_MILLISECONDS = 3_600_000;

/**
 * Reads the keys as the sidecar would, permissions included, and changes nothing.
 *
 * @param now milliseconds since the epoch
 */
export async function checkKeys(config: Config, now: number): Promise<CheckedKeys> {
  const source = config.issuer.keys;
  if (source.kind === "ephemeral")
    return { findings: [ok(CHECK, "the key is in the memory of the sidecar alone")], live: undefined };
  const needs = keyNeedsOf(config);
  try {
    const live = await readLiveKeys(config, now);
    const missing = needs.filter(({ purpose, algorithm }) => !live.set.activeKey(purpose, algorithm));
    const findings =
      missing.length > 0 ? [missingKeys(missing)] : [ok(CHECK, describeKeys(live.set, needs, source))];
    return {
      findings: [...findings, ...checkStoreClock(live, source), ...checkRotation(live, source, needs, now)],
      live,
    };
  } catch (error) {
    if (!(error instanceof KeyError)) throw error;
    const remedy = "mend it; and run doctor as the user that the sidecar runs as";
    return { findings: [fail(CHECK, error.message, remedy)], live: undefined };
  }
}

/** A sidecar whose clock differs by more than that is not ready. */
function checkStoreClock({ clock }: LiveKeys, source: KeySource): readonly Finding[] {
  const { fleet } = rotationOf(source);
  if (!clock || !fleet || source.kind !== "redis") return [];
  const seconds = Math.round((Math.abs(clock.ahead) - clock.uncertainty) / 1000);
  const apart = `the clock of this machine and that of ${describePlace(source.redis.place)}`;
  if (seconds <= fleet.clockSkewSeconds) return [ok("clock", `${apart} agree well enough`)];
  const found = `${apart} differ by ${seconds} s, and clockSkew allows ${fleet.clockSkewSeconds} s`;
  return [fail("clock", found, "set both by NTP: a sidecar here is not ready")];
}

function missingKeys(missing: readonly KeyNeed[]): Finding {
  const algorithms = missing.map(({ algorithm }) => algorithm).join(", ");
  return warn(
    CHECK,
    `there is no key yet for ${algorithms}`,
    "start the sidecar, or: countersign keys generate",
  );
}

function describeKeys(keys: KeySet, needs: readonly KeyNeed[], source: KeySource): string {
  const signing = needs.map(
    ({ purpose, algorithm }) => `${algorithm} key ${keys.activeKey(purpose, algorithm)?.key.kid} signs`,
  );
  return `${signing.join(", ")}${describeSafety(source)}`;
}

function describeSafety(source: KeySource): string {
  if (source.kind === "directory") return `; ${source.directory} is closed to other users`;
  return source.kind === "redis" ? `; they are encrypted in ${describePlace(source.redis.place)}` : "";
}

/** Only a ring says when its keys are rotated. */
function checkRotation(
  { rows, ring }: LiveKeys,
  source: KeySource,
  needs: readonly KeyNeed[],
  now: number,
): readonly Finding[] {
  if (!ring) return [];
  const rotation = rotationOf(source);
  return rows
    .filter(({ state }) => state !== "gone")
    .map(({ kid, algorithm, purpose, state, next }) => {
      const found = `${algorithm} key ${kid} is ${state}; ${next}`;
      const need = needs.find((one) => one.algorithm === algorithm && one.purpose === purpose);
      return state === "active" && need && isOverdue(ring, need, rotation, now)
        ? warn(ROTATION, `${algorithm} key ${kid} should have a successor by now`, OVERDUE_REMEDY)
        : ok(ROTATION, found);
    });
}

const OVERDUE_REMEDY =
  "start the sidecar, which makes it; where one runs, see in its log why it cannot write the key ring";

function isOverdue(ring: Ring, need: KeyNeed, rotation: Rotation, now: number): boolean {
  return isRotationDue(ring, need, rotation, now - OVERDUE_MILLISECONDS);
}
