import type { X509Certificate } from "node:crypto";

/** The names that a certificate gives to its owner. */
export interface CertificateNames {
  /** The common names of the subject; more than one is unusual, and legal. */
  readonly commonName: readonly string[];
  /** Of the subject alternative names (RFC 5280 §4.2.1.6), in their order. */
  readonly dns: readonly string[];
  readonly uri: readonly string[];
  readonly email: readonly string[];
}

/**
 * Reads the names of a certificate.
 *
 * @returns `undefined` where a name cannot be told from another, or holds a control character: nothing good is named so
 */
export function namesOf(certificate: X509Certificate): CertificateNames | undefined {
  const alternatives = alternativeNamesOf(certificate.subjectAltName ?? "");
  if (!alternatives) return undefined;
  const ofKind = (wanted: string) => alternatives.filter(([kind]) => kind === wanted).map(([, name]) => name);
  const names = {
    commonName: commonNamesOf(certificate),
    dns: ofKind("DNS"),
    uri: ofKind("URI"),
    email: ofKind("email"),
  };
  return Object.values(names).flat().some(isUnprintable) ? undefined : names;
}

/** One entry: a name that holds what could end it is written as a JSON string. */
const ALTERNATIVE_NAME = /(?:^|, )([A-Za-z0-9 ]+):(?:("(?:[^"\\]|\\.)*")|([^",\\']*))/gy;

/**
 * Takes apart what Node.js makes of the subject alternative names: `DNS:a.example, URI:"spiffe://a, DNS:b"`. Splitting it
 * at commas would let a name forge another (CVE-2021-44532).
 */
function alternativeNamesOf(text: string): [kind: string, name: string][] | undefined {
  const names: [string, string][] = [];
  let end = 0;
  for (const match of text.matchAll(ALTERNATIVE_NAME)) {
    const [whole, kind = "", quoted, plain = ""] = match;
    end = match.index + whole.length;
    try {
      names.push([kind, quoted === undefined ? plain : (JSON.parse(quoted) as string)]);
    } catch {
      return undefined;
    }
  }
  return end === text.length ? names : undefined;
}

/** Of the parsed subject: in its text form a name could look like a line of its own. */
function commonNamesOf(certificate: X509Certificate): string[] {
  const { CN: found } = (certificate.toLegacyObject().subject ?? {}) as { readonly CN?: string | string[] };
  return found === undefined ? [] : [found].flat();
}

function isUnprintable(name: string): boolean {
  return /[\p{Cc}\p{Zl}\p{Zp}]/u.test(name);
}

/**
 * A distinguished name in one line, the most specific part first (RFC 4514).
 *
 * @param text as Node.js has it: a part a line, each with its special characters escaped, line breaks too
 */
export function distinguishedName(text: string): string {
  // Of several values in a part: a plus of their own has a backslash before it.
  const parts = text.split("\n").map((part) => part.replaceAll(" + ", "+"));
  return parts.toReversed().join(",");
}
