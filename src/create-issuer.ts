import type { z } from "zod";
import { issuerOptionsSection } from "./config/issuer-section.ts";
import { identityOf, keySourceOf } from "./config/issuer-settings.ts";
import { problemsOf } from "./config/issues.ts";
import { needsOf } from "./config/key-needs.ts";
import { ConfigError } from "./config/problems.ts";
import { shielded } from "./errors.ts";
import type { SigningAlgorithm } from "./issuer/algorithms.ts";
import { type Issuer, issuerOver } from "./issuer/issuer.ts";
import type { KeyEvent } from "./issuer/keys/key-set.ts";
import { openKeys } from "./issuer/keys/key-source.ts";
import { createTokens } from "./issuer/tokens.ts";

type Section = z.input<typeof issuerOptionsSection>;

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
  readonly keys?: Section["keys"];
  /** For `getIdToken`. */
  readonly identity?: Section["identity"];
  /** Milliseconds since the epoch. Default: `Date.now`. */
  readonly now?: () => number;
  /** Where `keys.env` is looked up. Default: `process.env`. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Told of what becomes of the keys, and of what is wrong with them. */
  readonly onKeyEvent?: (event: KeyEvent) => void;
}

/**
 * Opens an issuer without a sidecar around it. Relative paths start from the working directory. Whoever serves its
 * documents puts `metadata()` at `{url}/.well-known/openid-configuration` and `jwks()` at the `jwks_uri` in it.
 *
 * @throws {ConfigError} ERR_CONFIG with every problem in the options
 * @throws {KeyError} ERR_KEY when a key cannot be used
 */
export async function createIssuer(options: CreateIssuerOptions): Promise<Issuer> {
  const { now = Date.now, env = process.env, onKeyEvent = () => {}, ...section } = options ?? {};
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
