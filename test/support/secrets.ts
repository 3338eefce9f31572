/** What a test has used as a credential, in whatever file. */
const known = new Set<string>();

/** Shorter ones are words that may stand anywhere. */
const MIN_CHARACTERS = 8;

/** Forms that only a secret has: tokens, private keys, hashes of passwords, credentials of a request. */
const FORMS = [
  /eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}/,
  /-----BEGIN [A-Z ]*PRIVATE KEY-----/,
  /"d" ?: ?"[\w-]{20,}"/,
  /\$scrypt\$|\$2[aby]\$\d\d\$/,
  /\bBasic [A-Za-z0-9+/]{8,}/,
  /\bBearer [\w.~+/-]{16,}/,
];

/** Says of a text that it must never be written, from here on in every test of this process. */
export function noteSecret(text: string): string {
  if (text.length >= MIN_CHARACTERS) known.add(text);
  return text;
}

/**
 * Looks for secrets in what a sidecar has written or shown.
 *
 * @throws {Error} with what stands around the first one
 */
export function refuseSecrets(what: string, text: string): void {
  const places = [...known].map((secret) => text.indexOf(secret));
  places.push(...FORMS.map((form) => text.search(form)));
  const place = places.find((index) => index !== -1);
  if (place !== undefined)
    throw new Error(`a secret is in ${what}: …${text.slice(Math.max(0, place - 80), place + 40)}…`);
}
