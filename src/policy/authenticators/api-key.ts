import { hash, timingSafeEqual } from "node:crypto";
import { openWatchedFile } from "../../watched-files.ts";
import { isMistyped } from "./api-key-text.ts";
import { type Authenticator, invalid, type Outcome, REALM, type Surroundings } from "./authenticator.ts";
import { normalized } from "./basic-credentials.ts";
import { findCredential, placeOf } from "./credential-source.ts";
import type { ApiKey, ApiKeyOptions } from "./options.ts";

/** Reads a file of API keys. */
export type ApiKeysReader = (text: string, path: string) => readonly ApiKey[] | Promise<readonly ApiKey[]>;

/** An API key, ready to be compared. */
interface KnownKey {
  readonly digest: Buffer;
  readonly expiresAt: number | undefined;
  readonly outcome: Outcome;
}

const UNKNOWN = invalid("the API key is not known");
const MISTYPED = invalid("the API key is mistyped: its checksum is wrong");
const DISABLED = invalid("the API key is disabled");
const EXPIRED = invalid("the API key has expired");

/**
 * Opens an authenticator that knows callers by a secret text.
 *
 * @throws {CountersignError} what `readKeys` throws for the keys file
 * @throws {Error} when the keys file cannot be read, or has a key that stands under `keys` too
 */
export async function openApiKey(
  name: string,
  options: ApiKeyOptions,
  { now, onEvent }: Surroundings,
  readKeys: ApiKeysReader,
): Promise<Authenticator> {
  const { source, keys, keysFile, forwardCredential } = options;
  const file =
    keysFile === undefined
      ? undefined
      : await openWatchedFile({
          path: keysFile,
          parse: async (text) => indexOf(withoutOverlap(keys, await readKeys(text, keysFile), keysFile)),
          onEvent: (event) => onEvent({ authenticator: name, ...event }),
        });
  const inline = indexOf(keys);

  function check(key: string): Outcome {
    const known = lookUp(file?.current() ?? inline, key);
    if (!known) return isMistyped(key) ? MISTYPED : UNKNOWN;
    return known.expiresAt !== undefined && now() >= known.expiresAt ? EXPIRED : known.outcome;
  }

  return {
    name,
    type: "apiKey",
    place: placeOf(source),
    forwardCredential,
    authenticate(request) {
      const found = findCredential(request, source);
      return found.kind === "found" ? check(found.credential) : found;
    },
    checkSecret(clientId, clientSecret) {
      const outcome = check(clientSecret);
      const isOther = outcome.kind === "user" && normalized(outcome.user.sub) !== normalized(clientId);
      return isOther ? UNKNOWN : outcome;
    },
    challenge(invalidReason) {
      const scheme = source.kind === "header" ? (source.scheme ?? "ApiKey") : "ApiKey";
      const error = invalidReason === undefined ? "" : `, error="invalid_token"`;
      return `${scheme} realm="${REALM}"${scheme.toLowerCase() === "bearer" ? error : ""}`;
    },
    close: () => file?.close(),
  };
}

/** How many hexadecimal digits of a hash lead to the keys that it is compared with. */
const INDEX_DIGITS = 16;

/**
 * All keys, where none is in both places: of two entries, of which one may be disabled, nobody knows which is meant.
 *
 * @throws {Error} with the subjects of those that are
 */
function withoutOverlap(
  inline: readonly ApiKey[],
  inFile: readonly ApiKey[],
  path: string,
): readonly ApiKey[] {
  const digests = new Set(inline.map(({ sha256 }) => sha256));
  const both = inFile.filter(({ sha256 }) => digests.has(sha256));
  if (both.length === 0) return [...inline, ...inFile];
  const subjects = both.map(({ subject }) => JSON.stringify(subject)).join(", ");
  throw new Error(`${path}: a key of ${subjects} stands under keys too; keep one`);
}

type Index = ReadonlyMap<string, readonly KnownKey[]>;

function indexOf(keys: readonly ApiKey[]): Index {
  const index = new Map<string, KnownKey[]>();
  for (const { subject, sha256, claims, expiresAt, disabled } of keys) {
    const start = sha256.slice(0, INDEX_DIGITS);
    const outcome: Outcome = disabled ? DISABLED : { kind: "user", user: { sub: subject, claims } };
    const known = { digest: Buffer.from(sha256, "hex"), expiresAt, outcome };
    index.set(start, [...(index.get(start) ?? []), known]);
  }
  return index;
}

/** What is compared is the hash, in constant time: how long it takes tells nothing about the keys. */
function lookUp(index: Index, credential: string): KnownKey | undefined {
  const digest = hash("sha256", credential, "buffer");
  const candidates = index.get(digest.toString("hex", 0, INDEX_DIGITS / 2));
  return candidates?.find((key) => timingSafeEqual(key.digest, digest));
}
