/**
 * The header or the claims set of a token of Countersign's own (RFC 7515 §7.1).
 *
 * @param part in base64url; a full stop behind it does no harm
 */
export function decodedPart(part: string): Readonly<Record<string, unknown>> {
  return JSON.parse(Buffer.from(part, "base64url").toString());
}
