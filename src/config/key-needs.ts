import type { SigningAlgorithm } from "../issuer/algorithms.ts";
import type { Identity } from "../issuer/issuer.ts";
import type { KeyNeed } from "../issuer/keys/ring.ts";
import type { Config } from "./config.ts";

/** The keys that a configuration signs with; the issuer's own is first. */
export function keyNeedsOf({ issuer, identity, policies }: Config): KeyNeed[] {
  const own = { algorithm: issuer.algorithm, lifetimeSeconds: issuer.expiresInSeconds };
  return needsOf([own, ...policies.flatMap(({ token }) => (token === "none" ? [] : [token]))], identity);
}

/**
 * The keys for these kinds of token, one an algorithm, each with the lifetime of its longest token.
 *
 * @param identity has keys of its own
 */
export function needsOf(
  tokens: readonly { readonly algorithm: SigningAlgorithm; readonly lifetimeSeconds: number }[],
  identity: Identity | undefined,
): KeyNeed[] {
  const longest = new Map<SigningAlgorithm, number>();
  for (const { algorithm, lifetimeSeconds } of tokens)
    longest.set(algorithm, Math.max(lifetimeSeconds, longest.get(algorithm) ?? 0));
  const needs = [...longest].map(
    ([algorithm, longestLifetimeSeconds]): KeyNeed => ({
      purpose: "token",
      algorithm,
      longestLifetimeSeconds,
    }),
  );
  if (!identity) return needs;
  const { algorithm, lifetimeSeconds } = identity;
  return [...needs, { purpose: "identity", algorithm, longestLifetimeSeconds: lifetimeSeconds }];
}
