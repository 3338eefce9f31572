import type { SigningAlgorithm } from "../issuer/algorithms.ts";
import type { Identity } from "../issuer/issuer.ts";
import type { KeyNeed } from "../issuer/keys/ring.ts";
import type { Config } from "./config.ts";

/** The keys that a configuration signs with; the issuer's own is first. */
export function keyNeedsOf({ issuer, identity, tokenEndpoint, policies }: Config): KeyNeed[] {
  const own = { algorithm: issuer.algorithm, lifetimeSeconds: issuer.expiresInSeconds };
  const ofPolicies = policies.flatMap(({ token }) => (token === "none" ? [] : [token]));
  return needsOf(
    [own, ...ofPolicies, ...(tokenEndpoint ? [tokenEndpoint] : [])],
    identity && {
      algorithm: identity.algorithm,
      lifetimeSeconds: Math.max(
        identity.lifetimeSeconds,
        ...identity.files.map((file) => file.lifetimeSeconds),
      ),
    },
  );
}

/**
 * The keys for these kinds of token, one an algorithm, each with the lifetime of its longest token.
 *
 * @param identity has keys of its own; the lifetime is that of the longest ID token
 */
export function needsOf(
  tokens: readonly { readonly algorithm: SigningAlgorithm; readonly lifetimeSeconds: number }[],
  identity: Pick<Identity, "algorithm" | "lifetimeSeconds"> | undefined,
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
