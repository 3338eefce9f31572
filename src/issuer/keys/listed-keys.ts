/** Keys in a list that somebody else keeps: the first of each algorithm signs, all are published. */

import type { KeyObject } from "node:crypto";
import { misfitOf, SIGNING_ALGORITHMS, type SigningAlgorithm } from "../algorithms.ts";
import { KeyError } from "./key-error.ts";
import { type KeyEvent, type KeySet, type KeyStatus, keySetOf } from "./key-set.ts";
import type { KeyNeed } from "./ring.ts";
import type { SigningKey } from "./signing-key.ts";

/** Keys in the order of their list, and what they are good for. */
export interface ListedKeys<Key extends SigningKey = SigningKey> {
  readonly keys: readonly Key[];
  readonly set: KeySet;
}

/**
 * The keys that sign, and those that are published beside them.
 *
 * @param source what the keys came from, for messages
 * @throws {KeyError} ERR_KEY when there is no key for a need
 */
export function listedSetOf(keys: readonly SigningKey[], needs: readonly KeyNeed[], source: string): KeySet {
  const active = needs.map(({ purpose, algorithm }) => {
    const key = keys.find((candidate) => candidate.algorithm === algorithm);
    if (key) return { purpose, key, longestLifetimeSeconds: Number.POSITIVE_INFINITY };
    const remedy =
      purpose === "identity"
        ? "add one, or set identity.algorithm to one that the keys are for"
        : "add one, or name an algorithm that the keys are for in issuer.algorithm; a JWK says with alg what it is for";
    throw new KeyError(source, `there is no key for ${algorithm}; ${remedy}`);
  });
  return keySetOf(active, keys);
}

/** What each key is. */
export function listedStatusesOf({ keys, set }: ListedKeys, needs: readonly KeyNeed[]): readonly KeyStatus[] {
  return keys.flatMap((key): KeyStatus[] => {
    const { kid, algorithm } = key;
    const known = { kid, algorithm, createdAt: undefined, nextTransitionAt: undefined };
    const uses = needs.filter((need) => set.activeKey(need.purpose, need.algorithm)?.key === key);
    if (uses.length === 0) return [{ ...known, purpose: undefined, state: "published" }];
    return uses.map(({ purpose }) => ({ ...known, purpose, state: "active" }));
  });
}

/**
 * What a key is for that does not say so: of the algorithms that are needed and fit, the first of those that have the
 * fewest keys yet. A further key that fits none of these is published for the first algorithm that it fits.
 *
 * @param key either half of it
 */
export function listedAlgorithmOf(
  key: KeyObject,
  needs: readonly KeyNeed[],
  before: readonly Pick<SigningKey, "algorithm">[],
): SigningAlgorithm {
  const needed = needs.map((need) => need.algorithm);
  const fitting = [...needed, ...(before.length > 0 ? SIGNING_ALGORITHMS : [])].filter(
    (candidate) => misfitOf(key, candidate) === undefined,
  );
  const keysFor = (candidate: SigningAlgorithm) =>
    before.filter(({ algorithm }) => algorithm === candidate).length;
  const [first] = fitting
    .filter((candidate) => needed.includes(candidate))
    .toSorted((a, b) => keysFor(a) - keysFor(b));
  // Where none fits, the first that is needed says why not.
  return first ?? fitting[0] ?? needed[0] ?? "EdDSA";
}

/**
 * Tells of each key that signs from now on.
 *
 * @param doubtOf what is wrong with its beginning now, if anything
 */
export function announceActive(
  before: readonly SigningKey[],
  after: readonly SigningKey[],
  needs: readonly KeyNeed[],
  doubtOf: (kid: string) => string | undefined,
  onEvent: (event: KeyEvent) => void,
): void {
  for (const { purpose, algorithm } of needs) {
    const active = after.find((key) => key.algorithm === algorithm);
    if (!active || before.find((key) => key.algorithm === algorithm)?.kid === active.kid) continue;
    onEvent({ kind: "key", kid: active.kid, algorithm, purpose, state: "active", until: undefined });
    const message = doubtOf(active.kid);
    if (message !== undefined) onEvent({ kind: "warning", message });
  }
}
