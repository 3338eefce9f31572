import type { Claims } from "../issuer/claims-set.ts";

/** Who is calling, as an authenticator found out. */
export interface User {
  /** Never empty. */
  readonly sub: string;
  /** What else is known: the payload of a JWT, the `claims` of an API key. */
  readonly claims: Claims;
}
