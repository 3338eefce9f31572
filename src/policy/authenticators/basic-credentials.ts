/** What a client proves itself with (RFC 7617 §2). */
export interface BasicCredentials {
  readonly username: string;
  readonly password: string;
}

const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

/**
 * Reads what stands after `Basic`: `username:password` in UTF-8 and base64, divided by the first colon.
 *
 * @returns the credentials, or what is wrong with them
 * @see RFC 7617 §2
 */
export function readBasicCredentials(text: string): BasicCredentials | { readonly reason: string } {
  // Node.js skips what is no base64; two texts that mean the same would be seen differently elsewhere.
  const bytes = Buffer.from(text, "base64");
  if (!BASE64.test(text) || withoutPadding(bytes.toString("base64")) !== withoutPadding(text))
    return { reason: "the credentials are not in base64" };
  let decoded: string;
  try {
    decoded = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { reason: "the credentials are not in UTF-8" };
  }
  if (/\p{Cc}/u.test(decoded)) return { reason: "the credentials hold a control character" };
  const colon = decoded.indexOf(":");
  if (colon === -1) return { reason: "the credentials have no colon between user name and password" };
  return {
    username: normalized(decoded.slice(0, colon)),
    password: normalized(decoded.slice(colon + 1)),
  };
}

/** The one form of a text that a client sends (RFC 7617 §2.1: Unicode Normalization Form C). */
export function normalized(text: string): string {
  return text.normalize("NFC");
}

function withoutPadding(base64: string): string {
  return base64.replace(/={1,2}$/, "");
}
