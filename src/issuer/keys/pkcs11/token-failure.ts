import { reasonOf } from "../../../errors.ts";
import type { TokenProblem } from "./token-messages.ts";

/** Why the process that holds a token's library cannot do what it was asked. */
export class TokenFailure extends Error implements TokenProblem {
  readonly kind: TokenProblem["kind"];

  constructor(kind: TokenProblem["kind"], message: string) {
    super(message);
    this.kind = kind;
  }
}

/** What the return values of PKCS#11 mean for whoever runs the sidecar (PKCS#11 v3.0 §5.1). */
const MEANINGS: Readonly<Record<string, string>> = {
  CKR_PIN_INCORRECT: "the PIN is wrong; it is not tried again, because a token locks after a few wrong ones",
  CKR_PIN_INVALID: "the PIN has characters that the token does not take",
  CKR_PIN_LEN_RANGE: "the PIN is too short or too long for the token",
  CKR_PIN_EXPIRED: "the PIN has expired; set a new one",
  CKR_PIN_LOCKED: "the PIN is locked after too many wrong ones; the security officer of the token unlocks it",
  CKR_USER_PIN_NOT_INITIALIZED: "the token has no user PIN yet; its security officer sets one",
  CKR_USER_TYPE_INVALID: "the token has no user that could log in",
  CKR_TOKEN_NOT_PRESENT: "there is no token in the slot",
  CKR_TOKEN_NOT_RECOGNIZED: "the token in the slot cannot be read",
  CKR_TOKEN_WRITE_PROTECTED: "the token is write-protected",
  CKR_SLOT_ID_INVALID: "there is no such slot",
  CKR_DEVICE_ERROR: "the token or the way to it is broken",
  CKR_DEVICE_REMOVED: "the token was removed",
  CKR_DEVICE_MEMORY: "the token has no room left",
  CKR_SESSION_HANDLE_INVALID: "the session was ended",
  CKR_SESSION_CLOSED: "the session was ended",
  CKR_SESSION_COUNT: "the token has no sessions left",
  CKR_USER_NOT_LOGGED_IN: "somebody has logged out of the token, or the key asks for the PIN at every use",
  CKR_MECHANISM_INVALID: "the token cannot do that algorithm",
  CKR_MECHANISM_PARAM_INVALID: "the token cannot do that algorithm",
  CKR_KEY_TYPE_INCONSISTENT: "the key is of another type than the algorithm",
  CKR_KEY_SIZE_RANGE: "the token does not take a key of that size",
  CKR_KEY_FUNCTION_NOT_PERMITTED: "the key may not sign (its attribute CKA_SIGN)",
  CKR_DOMAIN_PARAMS_INVALID: "the token does not know that curve",
  CKR_CURVE_NOT_SUPPORTED: "the token does not know that curve",
};

const AFTER_PIN = new Set([
  "CKR_PIN_INCORRECT",
  "CKR_PIN_INVALID",
  "CKR_PIN_LEN_RANGE",
  "CKR_PIN_EXPIRED",
  "CKR_PIN_LOCKED",
  "CKR_USER_PIN_NOT_INITIALIZED",
  "CKR_USER_TYPE_INVALID",
]);

/** A new session would be told the same. */
const REFUSALS = new Set([
  "CKR_TOKEN_WRITE_PROTECTED",
  "CKR_MECHANISM_INVALID",
  "CKR_MECHANISM_PARAM_INVALID",
  "CKR_KEY_TYPE_INCONSISTENT",
  "CKR_KEY_SIZE_RANGE",
  "CKR_KEY_FUNCTION_NOT_PERMITTED",
  "CKR_DOMAIN_PARAMS_INVALID",
  "CKR_CURVE_NOT_SUPPORTED",
  "CKR_TEMPLATE_INCONSISTENT",
  "CKR_TEMPLATE_INCOMPLETE",
  "CKR_ATTRIBUTE_VALUE_INVALID",
]);

/** The name of what a PKCS#11 function has returned; `undefined` where something else was thrown. */
export function returnValueOf(error: unknown): string | undefined {
  return /\bCKR_[A-Z0-9_]+/.exec(reasonOf(error))?.[0];
}

/**
 * What is told of an error.
 *
 * @param doing what was being done, such as "the login"
 */
export function failureOf(error: unknown, doing: string): TokenFailure {
  if (error instanceof TokenFailure) return error;
  const name = returnValueOf(error);
  // What a library says beyond its return value is not repeated: nobody knows what it quotes.
  if (name === undefined) return new TokenFailure("lost", `${doing} failed`);
  const meaning = MEANINGS[name];
  const message =
    meaning === undefined ? `${doing} failed (${name})` : `${doing} failed: ${meaning} (${name})`;
  if (AFTER_PIN.has(name)) return new TokenFailure("pin", message);
  return new TokenFailure(REFUSALS.has(name) ? "refused" : "lost", message);
}
