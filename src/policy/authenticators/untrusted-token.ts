import { SIGNING_ALGORITHMS, type SigningAlgorithm } from "../../issuer/algorithms.ts";
import { invalid, type Outcome } from "./authenticator.ts";
import type { JwtOptions } from "./options.ts";
import { jsonObjectOf } from "./verification-keys.ts";

/** What a token says of itself, before its signature is known to be good. */
export interface UntrustedToken {
  readonly kind: "untrusted";
  readonly token: string;
  readonly algorithm: SigningAlgorithm;
  readonly kid: string | undefined;
}

const MALFORMED = invalid("the credential is not a JWT");
const ENCRYPTED = invalid("the token is encrypted; a signed one is expected");
const ANOTHER_ISSUER: Outcome = { kind: "not-mine", reason: "it is a JWT of another issuer" };
const NO_ISSUER = invalid("the token has no claim iss");
const ALGORITHM = invalid("the token is signed with an algorithm that is not accepted");
const KID = invalid("the kid of the token is not a string");
const TYPE = invalid("the token is of another type");

/**
 * Reads a token without trust: whether it is one of this issuer, and with which key it says that it is signed. Of the
 * header nothing else is looked at here; `jku`, `jwk`, `x5u` and `x5c`, with which a token could name its own key, nowhere.
 */
export function readUntrusted(
  token: string,
  { issuer, algorithms, typ }: Pick<JwtOptions, "issuer" | "algorithms" | "typ">,
): UntrustedToken | Outcome {
  const parts = token.split(".");
  if (parts.length === 5) return ENCRYPTED;
  if (parts.length !== 3 || !parts.every(isCanonical)) return MALFORMED;
  const [header, claims] = parts.slice(0, 2).map(jsonObjectIn);
  if (!header || !claims) return MALFORMED;

  const iss = memberOf(claims, "iss");
  if (typeof iss !== "string") return NO_ISSUER;
  if (iss !== issuer) return ANOTHER_ISSUER;
  const alg = memberOf(header, "alg");
  // Whatever the list says: there are no other algorithms that a published key can verify (RFC 8725 §3.1).
  const algorithm = SIGNING_ALGORITHMS.find((known) => known === alg && algorithms.includes(known));
  if (algorithm === undefined) return ALGORITHM;
  const kid = memberOf(header, "kid");
  if (kid !== undefined && typeof kid !== "string") return KID;
  if (!isOfType(memberOf(header, "typ"), typ)) return TYPE;
  return { kind: "untrusted", token, algorithm, kid };
}

/** Base64url in the one form that an encoder writes: no padding, no spaces, no bits over (RFC 7515 §2, RFC 4648 §3.5). */
function isCanonical(part: string): boolean {
  return part !== "" && Buffer.from(part, "base64url").toString("base64url") === part;
}

function jsonObjectIn(part: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(part, "base64url"));
    return jsonObjectOf(text);
  } catch {
    return undefined;
  }
}

function memberOf(object: Readonly<Record<string, unknown>>, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/** Types of access tokens and of ID tokens. Others, such as logout+jwt, are for something else (RFC 8725 §3.11). */
const USUAL_TYPES = ["jwt", "at+jwt"];

function isOfType(found: unknown, expected: string | undefined): boolean {
  if (found === undefined) return expected === undefined;
  if (typeof found !== "string") return false;
  const type = normalType(found);
  return expected === undefined ? USUAL_TYPES.includes(type) : type === normalType(expected);
}

/** "application/" is left out as a rule, and upper and lower case are the same (RFC 7515 §4.1.9). */
function normalType(typ: string): string {
  return typ.toLowerCase().replace(/^application\//, "");
}
