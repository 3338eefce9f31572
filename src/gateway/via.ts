import { createHash } from "node:crypto";
import type { Issuer, JwkSet } from "../issuer/issuer.ts";

/** By what names this deployment is known in `Via`. */
export interface ViaPseudonyms {
  /** What it calls itself. */
  readonly own: string;
  /** What its requests may be marked with: before a rotation, or by a replica that has not noticed one, it is another. */
  readonly all: ReadonlySet<string>;
}

/** Enough that no two deployments have the same by chance, and short enough for every request. */
const DIGEST_CHARACTERS = 12;

/**
 * Gives the pseudonyms of a deployment: the same in all its processes and replicas, which have the issuer's keys in common,
 * and others than those of a sidecar that happens to have the same address. They are made once for each JWK Set.
 *
 * @see RFC 9110 §7.6.3
 */
export function viaPseudonymsOf({ url, jwks }: Pick<Issuer, "url" | "jwks">): () => ViaPseudonyms {
  let madeFrom: JwkSet | undefined;
  let pseudonyms: ViaPseudonyms;
  return () => {
    const current = unlessWithheld(jwks) ?? madeFrom ?? NO_KEYS;
    if (current !== madeFrom) {
      // The keys that sign stand first. Without any no token is made, but what needs none is still forwarded.
      const [own = pseudonymOf(url, ""), ...others] = current.keys.map(({ kid }) => pseudonymOf(url, kid));
      pseudonyms = { own, all: new Set([own, ...others].map(inLowerCase)) };
      madeFrom = current;
    }
    return pseudonyms;
  };
}

const NO_KEYS: JwkSet = { keys: [] };

/** Keys that must not be used any more tell who this is all the same. */
function unlessWithheld(jwks: () => JwkSet): JwkSet | undefined {
  try {
    return jwks();
  } catch {
    return undefined;
  }
}

function pseudonymOf(issuer: string, kid: string): string {
  const digest = createHash("sha256")
    .update(JSON.stringify([issuer, kid]))
    .digest("base64url");
  return `countersign-${digest.slice(0, DIGEST_CHARACTERS)}`;
}

/**
 * Whether a request has been here before: any of its `Via` lines names one of the pseudonyms, in whatever case, wherever it
 * stands. In a comment too, as whoever leaves a comment open would hide all that is added behind it.
 */
export function isLoop(rawFields: readonly string[], pseudonyms: () => ViaPseudonyms): boolean {
  for (let i = 0; i < rawFields.length; i += 2) {
    const name = rawFields[i] as string;
    if (name.length !== 3 || inLowerCase(name) !== "via") continue;
    const words = inLowerCase(rawFields[i + 1] as string).split(NOT_IN_A_TOKEN);
    const { all } = pseudonyms();
    if (words.some((word) => all.has(word))) return true;
  }
  return false;
}

/** RFC 9110 §5.6.2, of letters in lower case. */
const NOT_IN_A_TOKEN = /[^!#$%&'*+.^_`|~0-9a-z-]+/;

function inLowerCase(text: string): string {
  return text.toLowerCase();
}
