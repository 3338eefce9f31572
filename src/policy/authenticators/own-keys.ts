import type { SigningAlgorithm } from "../../issuer/algorithms.ts";
import type { KeySet } from "../../issuer/keys/key-set.ts";
import type { OwnIssuer } from "./authenticator.ts";
import type { ProviderKeys } from "./provider-keys.ts";
import { parseJwkSet, type VerificationKeySet } from "./verification-keys.ts";

/**
 * The keys of tokens that come back to their own issuer. They are here: to fetch them would be to wait for a sidecar that
 * waits for them, and its public URL need not lead back to it.
 */
export function openOwnKeys({ keys }: OwnIssuer, algorithms: readonly SigningAlgorithm[]): ProviderKeys {
  let published: KeySet["published"] | undefined;
  let keySet: VerificationKeySet = [];

  function keySetFrom({ published: latest }: KeySet): VerificationKeySet {
    if (latest !== published) {
      published = latest;
      keySet = parseJwkSet(JSON.stringify({ keys: published }), algorithms);
    }
    return keySet;
  }

  return {
    current: () => keySetFrom(keys.current()),
    async newerThan() {
      // Asked once: the moment after, they may be withheld.
      const latest = keys.current();
      // That a key is not known here does not tell that there is none.
      if (latest.withheld !== undefined) return { kind: "unavailable", cause: latest.withheld };
      return { kind: "keys", keySet: keySetFrom(latest) };
    },
    close() {},
  };
}
