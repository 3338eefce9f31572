import { dirname } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { JobQueue, refreshOften, reportingProblems, watchFolders } from "../../refresh.ts";
import { KeyError } from "./key-error.ts";
import { MOUNTED_FILE, readKeyFile } from "./key-file.ts";
import type { AdaptableKeys, KeyEvent } from "./key-set.ts";
import {
  announceActive,
  type ListedKeys,
  listedAlgorithmOf,
  listedSetOf,
  listedStatusesOf,
} from "./listed-keys.ts";
import { parsePrivateKey } from "./private-key.ts";
import { type KeyNeed, TICK_SECONDS } from "./ring.ts";
import { createSigningKey, type SigningKey } from "./signing-key.ts";

/** Keys that somebody else makes and rotates. */
export type ExternalKeySource =
  | {
      readonly kind: "files";
      /** PEM or JWK; the first of an algorithm signs. */
      readonly files: readonly string[];
      readonly passphrase: string | undefined;
    }
  | { readonly kind: "env"; readonly variable: string; readonly passphrase: string | undefined };

/** Variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What {@link openExternalKeys} needs. */
export interface ExternalKeysOptions {
  readonly source: ExternalKeySource;
  readonly needs: readonly KeyNeed[];
  readonly env: Environment;
  readonly onEvent: (event: KeyEvent) => void;
}

/**
 * Reads keys that are managed elsewhere, and reads files again when they change. Files that cannot be used leave the
 * keys as they were.
 *
 * @throws {KeyError} ERR_KEY when a key is missing, unsafe, or fits no algorithm
 */
export async function openExternalKeys(options: ExternalKeysOptions): Promise<AdaptableKeys> {
  const { source, env, onEvent } = options;
  let { needs } = options;
  let texts = await textsOf(source, env);
  let { keys, set } = await keysIn(texts, { source, needs });

  async function readAgain(): Promise<void> {
    const newTexts = await textsOf(source, env);
    if (isDeepStrictEqual(newTexts, texts)) return;
    const next = await keysIn(newTexts, { source, needs });
    texts = newTexts;
    if (isDeepStrictEqual(next.set.published, set.published)) return;
    announce(keys, next.keys);
    ({ keys, set } = next);
  }

  function announce(before: readonly SigningKey[], after: readonly SigningKey[]): void {
    const doubtOf = (kid: string) =>
      before.some((key) => key.kid === kid)
        ? undefined
        : `key ${kid} signs and was not published before: verifiers refuse its tokens until they fetch the JWK Set again; list a new key in the second place first`;
    announceActive(before, after, needs, doubtOf, onEvent);
  }

  // What was read first must not take the place of what was read later.
  const queue = new JobQueue();
  const refresh = reportingProblems(() => queue.run(readAgain), onEvent);
  const refreshing =
    source.kind === "files"
      ? // The folders: a file that is replaced by a rename, or by a link to it, is another file.
        refreshOften(refresh, TICK_SECONDS, (changed) => watchFolders(source.files.map(dirname), changed))
      : undefined;
  return {
    current: () => set,
    refresh,
    // Whoever rotates these keys sees to how long they stay.
    keepFor: async () => {},
    async adapt(next) {
      await queue.run(async () => {
        const adapted = await keysIn(texts, { source, needs: next.needs });
        needs = next.needs;
        announce(keys, adapted.keys);
        ({ keys, set } = adapted);
      });
    },
    canSign: () => true,
    status: () => listedStatusesOf({ keys, set }, needs),
    // Nobody here knows who else uses them.
    sharing: () => undefined,
    async close() {
      refreshing?.close();
      await queue.idle();
    },
  };
}

function nameOf(source: ExternalKeySource): string {
  return source.kind === "env" ? `the environment variable ${source.variable}` : source.files.join(", ");
}

/**
 * Reads the keys of an external source, in its order.
 *
 * @throws {KeyError} ERR_KEY as {@link openExternalKeys}
 */
export async function readExternalKeys(options: ReadOptions): Promise<ListedKeys> {
  return keysIn(await textsOf(options.source, options.env), options);
}

type ReadOptions = Pick<ExternalKeysOptions, "source" | "needs" | "env">;

/** A text with a key, and what it came from, for messages. */
interface KeyText {
  readonly name: string;
  readonly text: string;
}

async function keysIn(
  texts: readonly KeyText[],
  { source, needs }: Omit<ReadOptions, "env">,
): Promise<ListedKeys> {
  const keys: SigningKey[] = [];
  for (const { name, text } of texts) {
    const parsed = parsePrivateKey(text, name, source.passphrase);
    const algorithm = parsed.algorithm ?? listedAlgorithmOf(parsed.privateKey, needs, keys);
    const key = await createSigningKey(parsed.privateKey, algorithm, name);
    if (keys.some(({ kid }) => kid === key.kid)) throw new KeyError(name, "this key is listed twice");
    keys.push(key);
  }
  return { keys, set: listedSetOf(keys, needs, nameOf(source)) };
}

async function textsOf(source: ExternalKeySource, env: Environment): Promise<readonly KeyText[]> {
  if (source.kind === "files")
    return Promise.all(
      source.files.map(async (file) => ({ name: file, text: await readKeyFile(file, MOUNTED_FILE) })),
    );
  const name = nameOf(source);
  const text = env[source.variable];
  if (text === undefined) throw new KeyError(name, "not set; expected a private key in PEM or as a JWK");
  // A variable often holds a PEM whose line ends were written as \n.
  return [{ name, text: text.includes("\n") ? text : text.replaceAll("\\n", "\n") }];
}
