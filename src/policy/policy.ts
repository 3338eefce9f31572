import type { SigningAlgorithm } from "../issuer/algorithms.ts";
import type { Claims } from "../issuer/claims-set.ts";
import type { PathPattern } from "./path-pattern.ts";

/** What the token of a policy says and where it goes. Durations are in seconds. */
export interface TokenSettings {
  readonly subject: string;
  /** `undefined`: the URL of the request. */
  readonly audience: string | readonly string[] | undefined;
  readonly lifetimeSeconds: number;
  /** The field's name, in the spelling that goes on the wire. */
  readonly headerName: string;
  /** What stands before the token, with a space between; "" for the bare token. */
  readonly tokenPrefix: string;
  readonly additionalClaims: Claims;
  readonly notBefore: boolean;
  readonly tokenId: boolean;
  /** Whether a token that was made before will do for a request with the same claims. */
  readonly reuse: boolean;
  readonly algorithm: SigningAlgorithm;
}

/** One entry of `policies`. */
export interface Policy {
  readonly name: string;
  readonly match: {
    /** Any path where absent. */
    readonly path?: PathPattern | undefined;
    /** Methods, case-sensitive (RFC 9110 §9.1). Any where absent. */
    readonly methods?: readonly string[] | undefined;
    /** Lower-case host names without a port; `*.` at the front stands for one label or more. Any where absent. */
    readonly hosts?: readonly string[] | undefined;
  };
  readonly token: TokenSettings | "none";
}
