import type { PublicJwk } from "../../../src/issuer/keys/signing-key.ts";

/** The clocks that a verifier may measure the age of its JWK Set by. */
export interface Clocks {
  /** What no jump changes, in milliseconds since the epoch. */
  trueTime(): number;
  /** What the machine shows. */
  wallTime(): number;
}

/** A JWK Set as the sidecar served it, and for how long it may be kept. */
export interface ServedJwks {
  readonly keys: readonly PublicJwk[];
  readonly maxAgeSeconds: number;
}

/** A backend that keeps the JWK Set for a while, and never fetches it early: not for a kid that it does not know either. */
export interface Verifier {
  /** For how much longer than its `exp` it takes a token. */
  readonly toleranceSeconds: number;
  /** The keys that it goes by at this moment; `undefined` where it has to fetch them and cannot. */
  keys(): readonly PublicJwk[] | undefined;
  /** For messages. */
  describe(): string;
}

export interface VerifierOptions {
  readonly clocks: Clocks;
  /** `undefined`: as long as `max-age` says. */
  readonly cacheSeconds: number | undefined;
  readonly measuresBy: keyof Clocks;
  readonly toleranceSeconds: number;
  readonly fetchJwks: () => ServedJwks | undefined;
}

export function createVerifier(options: VerifierOptions): Verifier {
  const { clocks, cacheSeconds, measuresBy, toleranceSeconds, fetchJwks } = options;
  let cached:
    | { readonly keys: readonly PublicJwk[]; readonly at: number; readonly seconds: number }
    | undefined;

  return {
    toleranceSeconds,
    keys() {
      const now = clocks[measuresBy]();
      if (cached && now < cached.at + cached.seconds * 1000) return cached.keys;
      const served = fetchJwks();
      cached = served && { keys: served.keys, at: now, seconds: cacheSeconds ?? served.maxAgeSeconds };
      return cached?.keys;
    },
    describe() {
      if (!cached) return "a verifier without a JWK Set";
      const age = (clocks[measuresBy]() - cached.at) / 1000;
      return `a verifier whose JWK Set is ${age} s old by ${measuresBy}, of ${cached.seconds} s`;
    },
  };
}
