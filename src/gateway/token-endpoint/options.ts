import type { SigningAlgorithm } from "../../issuer/algorithms.ts";
import type { ValueTemplate } from "../../policy/template.ts";

/** `tokenEndpoint`: checked, complete with every default. */
export interface TokenEndpointOptions {
  /** Where clients reach it; `undefined`: `token` below the issuer's URL. */
  readonly url: string | undefined;
  /** Names of the authenticators that know clients by a secret: API keys and passwords. */
  readonly clients: readonly string[];
  /** The `client_id` of clients that have no secret (RFC 6749 §2.1). */
  readonly publicClients: readonly string[];
  /** Names of the authenticators that know the tokens which may be exchanged. */
  readonly tokens: readonly string[];
  /** Whom a token may be for. At least one. */
  readonly audiences: readonly string[];
  readonly lifetimeSeconds: number;
  readonly algorithm: SigningAlgorithm;
  /** A map, compiled; of references only those to the user. */
  readonly additionalClaims: ValueTemplate;
}
