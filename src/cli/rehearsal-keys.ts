import type { Config } from "../config/config.ts";
import { keyNeedsOf } from "../config/key-needs.ts";
import type { SigningAlgorithm } from "../issuer/algorithms.ts";
import { KeyError } from "../issuer/keys/key-error.ts";
import { type IssuerKeys, type KeySet, keySetOf } from "../issuer/keys/key-set.ts";
import { type BorrowedKeys, NOTHING_BORROWED, openKeys, readKeys } from "../issuer/keys/key-source.ts";

/** Keys to sign with that change nothing where the configured ones are kept. They are closed by whoever wanted them. */
export interface RehearsalKeys {
  readonly keys: IssuerKeys;
  /** The algorithms whose key was made for the moment, because the configuration has none yet. */
  readonly madeFor: ReadonlySet<SigningAlgorithm>;
  /** Why the configured keys cannot be used. */
  readonly problem: string | undefined;
}

const NO_KEYS = keySetOf([], []);

/** The configured keys where they can be read, else others of the same algorithms; nothing is made that lasts. */
export async function borrowKeys(config: Config): Promise<RehearsalKeys> {
  const now = Date.now;
  const needs = tokenKeyNeedsOf(config);
  let configured: BorrowedKeys = { set: NO_KEYS, ...NOTHING_BORROWED };
  let problem: string | undefined;
  if (config.issuer.keys.kind !== "ephemeral")
    try {
      configured = await readKeys(config.issuer.keys, { needs, env: process.env, now });
    } catch (error) {
      if (!(error instanceof KeyError)) throw error;
      problem = error.message;
    }
  const lacking = needs.filter(({ algorithm }) => !configured.set.activeKey("token", algorithm));
  const made = lacking.length === 0 ? NO_KEYS : await makeKeys(lacking);
  return {
    keys: { ...fixedKeys([configured.set, made]), close: async () => configured[Symbol.asyncDispose]() },
    madeFor: new Set(lacking.map(({ algorithm }) => algorithm)),
    problem,
  };
}

/** Keys for the moment alone. */
export async function makeRehearsalKeys(config: Config): Promise<IssuerKeys> {
  return fixedKeys([await makeKeys(tokenKeyNeedsOf(config))]);
}

function tokenKeyNeedsOf(config: Config) {
  return keyNeedsOf(config).filter(({ purpose }) => purpose === "token");
}

async function makeKeys(needs: ReturnType<typeof keyNeedsOf>): Promise<KeySet> {
  const options = { needs, env: {}, now: Date.now, onEvent() {} };
  const keys = await openKeys({ kind: "ephemeral" }, options);
  await keys.close();
  return keys.current();
}

/** Keys that never change. What they sign is of no use for longer than a moment, so no key has to be kept for it. */
export function fixedKeys(sets: readonly KeySet[]): IssuerKeys {
  const all: KeySet = {
    published: sets.flatMap(({ published }) => published),
    activeKey(purpose, algorithm) {
      for (const set of sets) {
        const active = set.activeKey(purpose, algorithm);
        if (active) return { ...active, longestLifetimeSeconds: Number.POSITIVE_INFINITY };
      }
      return undefined;
    },
  };
  return { current: () => all, async keepFor() {}, async refresh() {}, async close() {} };
}
