import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { IdentityFile } from "../../../src/issuer/identity-files/identity-file.ts";
import {
  type IdentityFileEvent,
  type IdentityFiles,
  openIdentityFiles,
} from "../../../src/issuer/identity-files/identity-files.ts";
import { createDirectoryStore } from "../../../src/issuer/keys/directory-store.ts";
import type { AdaptableKeys } from "../../../src/issuer/keys/key-set.ts";
import { openKeys } from "../../../src/issuer/keys/key-source.ts";
import { replaceKeys, rotateKeys } from "../../../src/issuer/keys/manage.ts";
import { type KeyNeed, pendingSecondsOf } from "../../../src/issuer/keys/ring.ts";
import { createTokens } from "../../../src/issuer/tokens.ts";
import { temporaryFolder } from "../../support/command-line.ts";

/** The issuer of the tokens in files. */
export const ISSUER = "https://orders.example.com/__issuer";
/** How long a token of {@link FileKeeping.file} lives. */
export const LIFETIME_SECONDS = 1000;

/** Files that are kept with keys and a clock of their own. */
export interface FileKeeping {
  readonly folder: string;
  /** A file `token` in the folder. */
  file(changes?: Partial<IdentityFile>): IdentityFile;
  readonly files: IdentityFiles;
  readonly events: IdentityFileEvent[];
  readonly keys: AdaptableKeys;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Lets time pass, and has done what is due then. */
  pass(seconds: number): Promise<void>;
  /** Another one with the same keys, as another process has. */
  another(): IdentityFiles;
  /** Puts a successor of the key that signs into the ring, and waits until it signs. */
  rotate(): Promise<void>;
  /** Takes the key that signs out of the ring. */
  withdraw(): Promise<void>;
}

const NEED: KeyNeed = { purpose: "identity", algorithm: "ES256", longestLifetimeSeconds: 100_000 };
const ROTATION = { everySeconds: undefined, overlapSeconds: 100 };

/** Opens keys, and files that are none yet. */
export async function startKeeping(): Promise<FileKeeping> {
  const temporary = temporaryFolder();
  onTestFinished(() => temporary[Symbol.dispose]());
  const folder = join(temporary.path, "tokens");
  mkdirSync(folder);
  const directory = join(temporary.path, "keys");
  let time = Date.parse("2026-11-23T12:00:00Z");
  const now = () => time;
  const keys = await openKeys(
    { kind: "directory", directory, rotation: ROTATION, passphrase: undefined },
    { needs: [NEED], env: {}, now, onEvent() {} },
  );
  onTestFinished(() => keys.close());
  const events: IdentityFileEvent[] = [];
  const open = (onEvent: (event: IdentityFileEvent) => void) => {
    const tokens = createTokens({ url: ISSUER, keys, now });
    const opened = openIdentityFiles({ url: ISSUER, keys, tokens, now, onEvent });
    onTestFinished(() => opened.close());
    return opened;
  };
  const files = open((event) => events.push(event));

  async function pass(seconds: number): Promise<void> {
    time += seconds * 1000;
    await files.refresh();
  }

  return {
    folder,
    file: (changes) => ({
      path: join(folder, "token"),
      group: undefined,
      subject: "acme/shop",
      audience: "sts.amazonaws.com",
      lifetimeSeconds: LIFETIME_SECONDS,
      claims: { account: "acme", project: "shop" },
      algorithm: "ES256",
      ...changes,
    }),
    files,
    events,
    keys,
    now,
    pass,
    another: () => open(() => {}),
    async rotate() {
      await rotateKeys(createDirectoryStore(directory), [NEED], now());
      await keys.refresh();
      time += pendingSecondsOf(ROTATION) * 1000;
    },
    async withdraw() {
      await replaceKeys(createDirectoryStore(directory), [NEED], now());
      await keys.refresh();
    },
  };
}
