import { createPublicKey, type KeyObject } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { JobQueue, refreshOften, reportingProblems } from "../../../refresh.ts";
import { misfitOf, type SigningAlgorithm } from "../../algorithms.ts";
import { verifySignature } from "../../sign.ts";
import { KeyError } from "../key-error.ts";
import { MOUNTED_FILE, readKeyFile } from "../key-file.ts";
import type { AdaptableKeys, KeyEvent, KeySet, ListedLabels } from "../key-set.ts";
import {
  announceActive,
  type ListedKeys,
  listedAlgorithmOf,
  listedSetOf,
  listedStatusesOf,
} from "../listed-keys.ts";
import { type KeyNeed, TICK_SECONDS } from "../ring.ts";
import { keyFactsOf, type RemoteSigningKey } from "../signing-key.ts";
import { connectToken, type TokenConnection } from "./token-connection.ts";
import { TokenError } from "./token-error.ts";
import type { TokenKey, TokenPlace } from "./token-messages.ts";

/** A PKCS#11 token, and how to log in to it. */
export interface TokenSource {
  /** The path of the library that speaks to it. */
  readonly library: string;
  readonly place: TokenPlace;
  readonly pin:
    | { readonly kind: "text"; readonly text: string }
    /** Checked as the file of a key is. */
    | { readonly kind: "file"; readonly file: string };
}

/** What {@link openTokenKeys} needs. */
export interface TokenKeysOptions {
  readonly source: TokenSource;
  readonly listed: ListedLabels;
  readonly needs: readonly KeyNeed[];
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly onEvent: (event: KeyEvent) => void;
}

/** Where a token that does not answer is asked again. */
const RETRY_SECONDS = 2;

/**
 * Opens keys on a token. What goes wrong later is an event, and the token is asked again until it is well.
 *
 * @throws {KeyError} ERR_KEY when the token cannot be used, a key is missing or fits no algorithm, or the PIN is wrong
 */
export async function openTokenKeys(options: TokenKeysOptions): Promise<AdaptableKeys> {
  const { source, now, onEvent } = options;
  let { listed, needs } = options;
  let changed = () => {};
  let canSign = true;
  /** A signature failed, or the token was lost: it has to show that it signs. */
  let isDoubtful = false;
  const onTrouble = () => {
    isDoubtful = true;
    changed();
  };
  const connection = connect(source, ({ message }) => {
    onEvent({ kind: "warning", message: `${message}; the token is opened again` });
    // Its keys are looked for again, and may not be what they were.
    onTrouble();
  });
  /** When each key was first published by this process, in milliseconds since the epoch. */
  let publishedAt = new Map<string, number>();
  let current = await keysIn(connection, listed.labels, needs, onTrouble).catch(async (error: unknown) => {
    await connection.close();
    throw error;
  });
  publish(current);
  tellDoubts([], current.keys);

  function publish({ keys }: ListedTokenKeys): void {
    publishedAt = new Map(keys.map(({ kid }) => [kid, publishedAt.get(kid) ?? now()]));
  }

  function tellDoubts(before: readonly TokenSigningKey[], after: readonly TokenSigningKey[]): void {
    for (const { kid, label, doubts } of after)
      for (const doubt of before.some((key) => key.kid === kid) ? [] : doubts)
        onEvent({
          kind: "warning",
          message: `${connection.name}: key ${label} is less safe than it could be: ${doubt}; make another one: countersign keys rotate`,
        });
  }

  function announce(before: ListedTokenKeys, after: ListedTokenKeys): void {
    const doubtOf = (kid: string) => {
      const seconds = Math.max(0, now() - (publishedAt.get(kid) ?? now())) / 1000;
      if (seconds >= listed.jwksMaxAgeSeconds) return undefined;
      return `key ${kid} signs, and has been published for ${Math.floor(seconds)} s by this process: verifiers that hold a JWK Set without it, for up to ${listed.jwksMaxAgeSeconds} s (issuer.jwksMaxAge), refuse its tokens; list a new key in the second place first`;
    };
    announceActive(before.keys, after.keys, needs, doubtOf, onEvent);
    tellDoubts(before.keys, after.keys);
  }

  /** Whether the token still has the keys, and signs with those that are to. */
  async function check(): Promise<void> {
    const { keys, set } = current;
    const active = keys.filter(isActiveIn(set, needs));
    try {
      const found = await connection.find(keys.map(({ label }) => label));
      const problems = keys.flatMap((key) => ({ key, problem: changeOf(key, found) }));
      canSign = !problems.some(({ key, problem }) => problem !== undefined && active.includes(key));
      const first = problems.find(({ problem }) => problem !== undefined);
      if (first) throw new KeyError(connection.name, `key ${first.key.label} ${first.problem}`);
    } catch (error) {
      // Also where it did not answer.
      if (error instanceof TokenError) canSign = false;
      throw error;
    }
    if (!isDoubtful) return;
    // Before the proof: what goes wrong meanwhile is a new doubt.
    isDoubtful = false;
    try {
      for (const key of active) await prove(connection, key);
    } catch (error) {
      isDoubtful = true;
      canSign = false;
      throw error;
    }
  }

  const queue = new JobQueue();
  const refresh = reportingProblems(() => queue.run(check), onEvent);
  const refreshing = refreshOften(refresh, TICK_SECONDS, (onChange) => {
    changed = onChange;
    return { close() {} };
  });
  const retrying = setInterval(() => {
    if (!canSign) changed();
  }, RETRY_SECONDS * 1000).unref();
  return {
    current: () => current.set,
    canSign: () => canSign,
    refresh,
    // Whoever rotates these keys sees to how long they stay.
    keepFor: async () => {},
    async adapt(next) {
      const nextListed = next.listed ?? listed;
      await queue.run(async () => {
        const isSame =
          isDeepStrictEqual(nextListed.labels, listed.labels) && isDeepStrictEqual(next.needs, needs);
        // A token that is out of reach is no reason to refuse another policy.
        const adapted = isSame ? current : await keysIn(connection, nextListed.labels, next.needs, onTrouble);
        const before = current;
        needs = next.needs;
        listed = nextListed;
        announce(before, adapted);
        publish(adapted);
        current = adapted;
      });
    },
    status: () => listedStatusesOf(current, needs),
    // Nobody here knows who else uses them.
    sharing: () => undefined,
    async close() {
      refreshing.close();
      clearInterval(retrying);
      await connection.close();
      await queue.idle();
    },
  };
}

/**
 * Reads the keys on a token, as {@link openTokenKeys} does. They sign until they are let go.
 *
 * @throws {KeyError} ERR_KEY as {@link openTokenKeys}
 */
export async function readTokenKeys({
  source,
  listed,
  needs,
}: Pick<TokenKeysOptions, "source" | "listed" | "needs">): Promise<ListedKeys & AsyncDisposable> {
  const connection = connect(source);
  try {
    const found = await keysIn(connection, listed.labels, needs, () => {});
    return { ...found, [Symbol.asyncDispose]: connection.close };
  } catch (error) {
    await connection.close();
    throw error;
  }
}

/** Why a key cannot be used any more, as the end of a sentence. */
function changeOf({ label, tokenKey }: TokenSigningKey, found: readonly TokenKey[]): string | undefined {
  const same = found.find((key) => key.label === label);
  if (!same) return "is not on it any more";
  return same.fingerprint === tokenKey.fingerprint
    ? undefined
    : "is another one than before; restart to use it";
}

/** Connects to the token of a source. */
export function connect(
  source: TokenSource,
  onLost: (error: TokenError) => void = () => {},
): TokenConnection {
  const { library, place, pin } = source;
  return connectToken({
    name: nameOfPlace(place),
    access: async () => ({ library, place, pin: pin.kind === "text" ? pin.text : await pinIn(pin.file) }),
    onLost,
  });
}

/** What a token is called in messages. */
export function nameOfPlace(place: TokenPlace): string {
  return place.kind === "label" ? `token ${place.label}` : `the token in slot ${place.slot}`;
}

async function pinIn(file: string): Promise<string> {
  // Whatever wrote it may have ended the line.
  const pin = (await readKeyFile(file, MOUNTED_FILE)).replace(/\r?\n$/, "");
  if (pin === "") throw new KeyError(file, "empty; expected the PIN of the token");
  return pin;
}

interface TokenSigningKey extends RemoteSigningKey {
  readonly doubts: readonly string[];
  readonly tokenKey: TokenKey;
}

type ListedTokenKeys = ListedKeys<TokenSigningKey>;

async function keysIn(
  connection: TokenConnection,
  labels: readonly string[],
  needs: readonly KeyNeed[],
  onTrouble: () => void,
): Promise<ListedTokenKeys> {
  const found = await connection.find(labels);
  const missing = labels.filter((label) => found.every((key) => key.label !== label));
  if (missing.length > 0)
    throw new KeyError(
      connection.name,
      `there is no private key with the label ${missing.join(", ")}; make it: countersign keys generate`,
    );
  const keys: TokenSigningKey[] = [];
  for (const tokenKey of found) {
    const publicKey = publicKeyOf(tokenKey);
    const algorithm = listedAlgorithmOf(publicKey, needs, keys);
    const key = await signingKeyOf(connection, tokenKey, algorithm, onTrouble);
    if (keys.some(({ kid }) => kid === key.kid))
      throw new KeyError(connection.name, `key ${key.label} is the same as another of the list`);
    keys.push(key);
  }
  for (const key of keys) await prove(connection, key);
  return { keys, set: listedSetOf(keys, needs, connection.name) };
}

async function signingKeyOf(
  connection: TokenConnection,
  tokenKey: TokenKey,
  algorithm: SigningAlgorithm,
  onTrouble: () => void,
): Promise<TokenSigningKey> {
  const { label, doubts } = tokenKey;
  const publicKey = publicKeyOf(tokenKey);
  const misfit = misfitOf(publicKey, algorithm);
  if (misfit) throw new KeyError(`${connection.name}, key ${label}`, misfit);
  return Object.freeze({
    kind: "remote",
    ...(await keyFactsOf(publicKey, algorithm)),
    ...{ label, doubts, tokenKey },
    async sign(input: Buffer) {
      try {
        return await connection.sign(tokenKey, algorithm, input);
      } catch (error) {
        onTrouble();
        throw error;
      }
    },
  });
}

/** The public half of a key on a token. */
export function publicKeyOf({ jwk }: TokenKey): KeyObject {
  return createPublicKey({ key: { ...jwk }, format: "jwk" });
}

const PROBE = Buffer.from("probe");

/** A public key object can be put beside any private key. */
async function prove(connection: TokenConnection, key: TokenSigningKey): Promise<void> {
  const { algorithm, label, tokenKey } = key;
  const signature = await connection.sign(tokenKey, algorithm, PROBE);
  if (!verifySignature(algorithm, PROBE, publicKeyOf(tokenKey), signature))
    throw new KeyError(
      `${connection.name}, key ${label}`,
      "the private and the public part of this key do not belong together",
    );
}

function isActiveIn(set: KeySet, needs: readonly KeyNeed[]) {
  return (key: TokenSigningKey) =>
    needs.some((need) => set.activeKey(need.purpose, need.algorithm)?.key === key);
}
