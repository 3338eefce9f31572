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

  function current(): VerificationKeySet {
    const { published: latest } = keys.current();
    if (latest !== published) {
      published = latest;
      keySet = parseJwkSet(JSON.stringify({ keys: published }), algorithms);
    }
    return keySet;
  }

  return {
    current,
    async newerThan() {
      const { withheld } = keys.current();
      // That a key is not known here does not tell that there is none.
      if (withheld !== undefined) return { kind: "unavailable", cause: withheld };
      return { kind: "keys", keySet: current() };
    },
    close() {},
  };
}
