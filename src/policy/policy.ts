import type { SigningAlgorithm } from "../issuer/algorithms.ts";
import type { PathPattern } from "./path-pattern.ts";
import type { Requirement } from "./require.ts";
import type { ValueTemplate } from "./template.ts";

/** What the token of a policy says and where it goes. Durations are in seconds. */
export interface TokenSettings {
  /** `undefined`: the user's `sub`, else "api-gateway". */
  readonly subject: ValueTemplate | undefined;
  /** `undefined`: the URL of the request. */
  readonly audience: ValueTemplate | undefined;
  /** Through whom the request came, for the claim `act`; `undefined`: there is no such claim. */
  readonly actor: ValueTemplate | undefined;
  readonly lifetimeSeconds: number;
  /** The field's name, in the spelling that goes on the wire. */
  readonly headerName: string;
  /** What stands before the token, with a space between; "" for the bare token. */
  readonly tokenPrefix: string;
  /** A map, compiled. */
  readonly additionalClaims: ValueTemplate;
  readonly notBefore: boolean;
  readonly tokenId: boolean;
  /** Whether a token that was made before will do for a request with the same claims. */
  readonly reuse: boolean;
  readonly algorithm: SigningAlgorithm;
  /** Where in the file each claim comes from, by claim: `policies[1].token.audience`. */
  readonly origins: Readonly<Record<string, string>>;
}

/** Which requests a policy is for. */
export interface Match {
  /** Any path where absent. */
  readonly path?: PathPattern | undefined;
  /** Methods, case-sensitive (RFC 9110 §9.1). Any where absent. */
  readonly methods?: readonly string[] | undefined;
  /** Lower-case host names without a port; `*.` at the front stands for one label or more. Any where absent. */
  readonly hosts?: readonly string[] | undefined;
}

/** One entry of `policies`. */
export interface Policy {
  readonly name: string;
  readonly match: Match;
  /** Names of authenticators, in the order in which they are asked. */
  readonly authenticate: readonly string[];
  /** Whether a caller without any credential may pass. */
  readonly allowsAnonymous: boolean;
  readonly require: Requirement | undefined;
  readonly token: TokenSettings | "none";
}
