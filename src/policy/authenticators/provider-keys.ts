import { reasonOf } from "../../errors.ts";
import { reportingProblems } from "../../refresh.ts";
import { openWatchedFile } from "../../watched-files.ts";
import type { AuthenticatorEvent } from "./authenticator.ts";
import { discoverJwksUri } from "./discovery.ts";
import { createDocumentFetcher, type DocumentFetcher, shown, textOf } from "./fetch-document.ts";
import type { JwtOptions } from "./options.ts";
import { parseJwkSet, type VerificationKeySet } from "./verification-keys.ts";

/** The keys of an issuer, or why they cannot be known now. */
export type KeysAnswer =
  | { readonly kind: "keys"; readonly keySet: VerificationKeySet }
  | { readonly kind: "unavailable"; readonly cause: string };

/** The keys of an issuer, as they change. */
export interface ProviderKeys {
  /** The keys that can be used at once; `undefined` where there are none that are not too old. */
  current(): VerificationKeySet | undefined;
  /**
   * The keys when one is wanted that is not in `known`: fetched, where that may be.
   *
   * @param known the keys that were looked at; `undefined` where there were none
   */
  newerThan(known: VerificationKeySet | undefined): Promise<KeysAnswer>;
  /** Ends what is under way. */
  close(): void;
}

/** What {@link openProviderKeys} needs. */
export interface ProviderKeysOptions extends Pick<JwtOptions, "issuer" | "algorithms" | "keys"> {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Told once of keys that cannot be had, and once that they can again. */
  readonly onEvent: (event: Omit<AuthenticatorEvent, "authenticator">) => void;
  /** For discovery and keys together. */
  readonly fetchTimeoutMilliseconds: number;
}

/**
 * Opens the keys of an issuer. Those in a file are read at once; those elsewhere are fetched beside the requests, and it
 * is no failure where that does not succeed.
 *
 * @throws {Error} when a file cannot be read, or holds no key that can be used
 */
export async function openProviderKeys(options: ProviderKeysOptions): Promise<ProviderKeys> {
  const { keys } = options;
  return keys.kind === "file" ? openKeyFile(keys.path, options) : createRemoteKeys(options);
}

async function openKeyFile(
  path: string,
  { algorithms, onEvent }: ProviderKeysOptions,
): Promise<ProviderKeys> {
  const parse = (text: string) => {
    try {
      return parseJwkSet(text, algorithms);
    } catch (error) {
      throw new Error(`${path}: ${reasonOf(error)}`);
    }
  };
  const file = await openWatchedFile({ path, parse, onEvent });
  if (file.current().length === 0) {
    file.close();
    throw new Error(`${path}: ${noKeyFor(algorithms)}`);
  }
  return {
    current: () => file.current(),
    newerThan: async () => ({ kind: "keys", keySet: file.current() }),
    close: () => file.close(),
  };
}

/** So old, keys are fetched again while they go on. */
const FRESH_MILLISECONDS = 10 * 60_000;
/** So old, keys are used no more: the issuer may have withdrawn them. */
const USABLE_MILLISECONDS = 60 * 60_000;
/** Random `kid`s cause one fetch in this time. */
const COOL_DOWN_MILLISECONDS = 30_000;
/** Where there are no keys, every request waits for a fetch, or is answered at once that there are none. */
const COOL_DOWN_WITHOUT_KEYS_MILLISECONDS = 5000;

function createRemoteKeys(options: ProviderKeysOptions): ProviderKeys {
  const { now, onEvent, algorithms, fetchTimeoutMilliseconds } = options;
  const fetcher = createDocumentFetcher();
  const closing = new AbortController();
  let fetched: { readonly text: string; readonly keySet: VerificationKeySet } | undefined;
  let succeededAt = Number.NEGATIVE_INFINITY;
  let triedAt = Number.NEGATIVE_INFINITY;
  let failure: string | undefined;
  let underWay: Promise<void> | undefined;

  const fetchKeys = reportingProblems(
    async () => {
      triedAt = now();
      const signal = AbortSignal.any([closing.signal, AbortSignal.timeout(fetchTimeoutMilliseconds)]);
      const { url, text, keySet } = await fetchJwkSet(options, fetcher, signal).catch((error: unknown) => {
        failure = reasonOf(error);
        throw error;
      });
      succeededAt = now();
      failure = undefined;
      // The same text stays the same object: tokens that were verified with it need not be verified again.
      if (text !== fetched?.text) fetched = { text, keySet };
      if (keySet.length === 0) throw new Error(`${shown(url)}: ${noKeyFor(algorithms)}`);
    },
    (health) => {
      if (closing.signal.aborted) return;
      const message =
        health.kind === "problem"
          ? `the keys of the issuer cannot be had: ${health.message}`
          : "the keys of the issuer can be had again";
      onEvent({ kind: health.kind, message });
    },
  );

  /** One at a time: what comes meanwhile waits for the same. */
  function refresh(): Promise<void> {
    underWay ??= fetchKeys().finally(() => {
      underWay = undefined;
    });
    return underWay;
  }

  /** How long ago something was. A clock that is set back starts it anew, or it would be in the future for long. */
  function agesNow(): { readonly success: number; readonly attempt: number } {
    const time = now();
    succeededAt = Math.min(succeededAt, time);
    triedAt = Math.min(triedAt, time);
    return { success: time - succeededAt, attempt: time - triedAt };
  }

  function current(): VerificationKeySet | undefined {
    const { success, attempt } = agesNow();
    if (!fetched || success >= USABLE_MILLISECONDS) return undefined;
    if (success >= FRESH_MILLISECONDS && attempt >= COOL_DOWN_MILLISECONDS) void refresh();
    return fetched.keySet;
  }

  async function newerThan(known: VerificationKeySet | undefined): Promise<KeysAnswer> {
    const keySet = current();
    if (keySet && keySet !== known) return { kind: "keys", keySet };
    const coolDown = keySet ? COOL_DOWN_MILLISECONDS : COOL_DOWN_WITHOUT_KEYS_MILLISECONDS;
    if (underWay || agesNow().attempt >= coolDown) await refresh();
    const newest = current();
    // An old set does not tell that there is no such key.
    if (failure !== undefined) return { kind: "unavailable", cause: failure };
    return newest ? { kind: "keys", keySet: newest } : { kind: "unavailable", cause: "the keys are too old" };
  }

  void refresh();
  return {
    current,
    newerThan,
    close() {
      closing.abort();
      fetcher.close();
    },
  };
}

async function fetchJwkSet(
  { keys, issuer, algorithms }: ProviderKeysOptions,
  fetcher: DocumentFetcher,
  signal: AbortSignal,
): Promise<{ readonly url: URL; readonly text: string; readonly keySet: VerificationKeySet }> {
  const fetch = (address: URL) => fetcher.fetch(address, signal);
  // Each time, as an issuer may move its keys.
  const url = keys.kind === "jwksUri" ? new URL(keys.url) : await discoverJwksUri(issuer, fetch);
  const text = textOf(await fetch(url));
  try {
    return { url, text, keySet: parseJwkSet(text, algorithms) };
  } catch (error) {
    throw new Error(`${shown(url)}: ${reasonOf(error)}`);
  }
}

function noKeyFor(algorithms: JwtOptions["algorithms"]): string {
  return `there is no public key in it that verifies ${algorithms.join(" or ")}`;
}
