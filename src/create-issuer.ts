import type { z } from "zod";
import { identityOf } from "./config/identity-section.ts";
import { issuerOptionsSection } from "./config/issuer-section.ts";
import { keySourceOf } from "./config/issuer-settings.ts";
import { problemsOf } from "./config/issues.ts";
import { needsOf } from "./config/key-needs.ts";
import { ConfigError } from "./config/problems.ts";
import { shielded } from "./errors.ts";
import type { SigningAlgorithm } from "./issuer/algorithms.ts";
import { type Issuer, issuerOver } from "./issuer/issuer.ts";
import type { KeyEvent } from "./issuer/keys/key-set.ts";
import { openKeys } from "./issuer/keys/key-source.ts";
import { createTokens } from "./issuer/tokens.ts";

/** Where the keys of an issuer come from: at most one of `directory`, `redis`, `files`, `env`, `pkcs11` and `ephemeral`. */
export interface IssuerKeysOptions {
  /** A folder that is managed: keys are made, rotated, and removed when their last token has ended. Default: `./keys`. */
  readonly directory?: string;
  /** One ring for many processes, in Redis or Valkey. */
  readonly redis?: IssuerRedisOptions;
  /** For how long a key of the directory or of Redis signs: a number of seconds, a string such as `"30d"`, or `"never"`. Default: 30 days. */
  readonly rotateEvery?: number | string;
  /** For how long a new key of the directory or of Redis is published before it signs. Default: `jwksMaxAge` or a day, and 4 h. */
  readonly overlap?: number | string;
  /** Private keys, PEM or JWK, that somebody else manages: the first of an algorithm signs, all are published. */
  readonly files?: string[];
  /** An environment variable with one private key, PEM or JWK. */
  readonly env?: string;
  /** Private keys on a PKCS#11 token or HSM: the first of an algorithm signs, all are published. */
  readonly pkcs11?: Pkcs11KeysOptions;
  /** Keys in memory, new at every start. */
  readonly ephemeral?: true;
  /** Opens encrypted PEM, and encrypts the keys of the directory. */
  readonly passphrase?: string;
}

/** Where a ring is that several processes share: exactly one of `url`, `sentinel` and `cluster`, and one of the encryption keys. */
export interface IssuerRedisOptions {
  /** `redis://host:port/database`, `rediss:` for TLS, or `unix:/path`. */
  readonly url?: string;
  /** Sentinels, as `host:port`, that say which server is the master of this name. */
  readonly sentinel?: {
    readonly master: string;
    readonly nodes: string[];
    readonly username?: string;
    readonly password?: string;
  };
  /** Some nodes of a Redis Cluster, as `host:port`. */
  readonly cluster?: string[];
  /** Stands before the name of the ring. Default: `"countersign:"`. */
  readonly prefix?: string;
  readonly username?: string;
  readonly password?: string;
  /** Files in PEM; paths start from the working directory. */
  readonly tls?: {
    readonly ca?: string;
    readonly cert?: string;
    readonly key?: string;
    readonly serverName?: string;
    readonly dangerouslySkipVerification?: boolean;
  };
  /** 32 bytes in base64 or hex; of several, with spaces between, the first encrypts and all decrypt. */
  readonly encryptionKey?: string;
  /** A file with the same. */
  readonly encryptionKeyFile?: string;
  /** By how much this clock may differ from that of Redis: a number of seconds, or a string. Default: 30 s. */
  readonly clockSkew?: number | string;
}

/** Keys on a token. The package pkcs11js must be installed. */
export interface Pkcs11KeysOptions {
  /** The path of the PKCS#11 library. */
  readonly library: string;
  /** The label of the token: either this or `slot`. */
  readonly token?: string;
  readonly slot?: number;
  /** The PIN of its user: either this or `pinFile`. */
  readonly pin?: string;
  readonly pinFile?: string;
  /** The labels of the private keys, in the order of their use. */
  readonly keys: string[];
}

/** Whose identity `getIdToken` proves: at least one of the first four. */
export interface IssuerIdentityOptions {
  /** Default: account, project and deployment, with slashes between. */
  readonly subject?: string;
  readonly account?: string;
  readonly project?: string;
  readonly deployment?: string;
  readonly environment_type?: string;
  /** It has keys of its own. Default: `"RS256"`. */
  readonly algorithm?: SigningAlgorithm;
  /** The lifetime of ID tokens: a number of seconds, or a string. Default: ten hours. */
  readonly expiresIn?: number | string;
  /** Whom ID tokens may be for. Default: anybody. */
  readonly audiences?: string[];
}

/** What an issuer of one's own is made from: the keys of `issuer` in `sidecar.yaml`, and `identity`. */
export interface CreateIssuerOptions {
  /** The `iss` of every token; verifiers look for the documents below it. No slash at its end. */
  readonly url: string;
  /** What tokens are signed with. Default: `"EdDSA"`. */
  readonly algorithm?: SigningAlgorithm;
  /** Further algorithms that `signJwt` may ask for; each has keys of its own. */
  readonly algorithms?: SigningAlgorithm[];
  /** The lifetime of tokens: a number of seconds, or a string such as `"5m"`. Default: an hour. */
  readonly expiresIn?: number | string;
  /** How long verifiers may keep the JWK Set. Default: five minutes. */
  readonly jwksMaxAge?: number | string;
  /** Where the keys come from. Default: the directory `./keys`. */
  readonly keys?: IssuerKeysOptions;
  /** For `getIdToken`. */
  readonly identity?: IssuerIdentityOptions;
  /** Milliseconds since the epoch. Default: `Date.now`. */
  readonly now?: () => number;
  /** Where `keys.env` is looked up. Default: `process.env`. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Told of what becomes of the keys, and of what is wrong with them. */
  readonly onKeyEvent?: (event: KeyEvent) => void;
}

/**
 * Opens an issuer without a sidecar around it. Relative paths start from the working directory. Whoever serves its
 * documents puts `metadata()` at `{url}/.well-known/openid-configuration` and `jwks()` at the `jwks_uri` in it. Waits for
 * a Redis that cannot be reached.
 *
 * @throws {ConfigError} ERR_CONFIG with every problem in the options
 * @throws {KeyError} ERR_KEY when a key cannot be used
 */
export async function createIssuer(options: CreateIssuerOptions): Promise<Issuer> {
  const { now = Date.now, env = process.env, onKeyEvent = () => {}, ...rest } = options ?? {};
  // Other words for the same: what is promised above is what the section takes.
  const section: z.input<typeof issuerOptionsSection> = rest;
  const checked = issuerOptionsSection.safeParse(section, { reportInput: true });
  if (!checked.success) throw new ConfigError(problemsOf(checked.error.issues, undefined, "createIssuer"));
  const { url, algorithm, algorithms, expiresIn, jwksMaxAge } = checked.data;
  const identity = checked.data.identity && identityOf(checked.data.identity);
  const needs = needsOf(
    [algorithm, ...algorithms].map((one) => ({ algorithm: one, lifetimeSeconds: expiresIn })),
    identity,
  );
  const keys = await openKeys(keySourceOf(checked.data, process.cwd()), {
    needs,
    env,
    now,
    onEvent: shielded(onKeyEvent),
  });
  const tokens = createTokens({ url, keys, now });
  const settings = { algorithm, expiresInSeconds: expiresIn, jwksMaxAgeSeconds: jwksMaxAge, identity };
  return issuerOver(url, keys, tokens, settings);
}
