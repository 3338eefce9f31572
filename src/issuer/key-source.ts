import type { SigningAlgorithm } from "./algorithms.ts";
import { openKeyDirectory, readKeyDirectory } from "./key-directory.ts";
import {
  createSigningKey,
  generatePrivateKey,
  KeyError,
  parsePrivateKey,
  type SigningKey,
  type SigningKeys,
} from "./signing-key.ts";

/** Where an issuer's keys come from. */
export type KeySource =
  | { readonly kind: "directory"; readonly directory: string }
  | { readonly kind: "env"; readonly variable: string }
  | { readonly kind: "ephemeral" };

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Opens the keys of `source`; a managed directory and an ephemeral source make the key that they lack.
 *
 * @returns the keys to publish; the first one signs
 * @throws {KeyError} ERR_KEY when a key is missing, unsafe, or does not fit `algorithm`
 */
export async function openKeys(
  source: KeySource,
  algorithm: SigningAlgorithm,
  env: Environment,
): Promise<SigningKeys> {
  if (source.kind === "directory") return openKeyDirectory(source.directory, algorithm);
  if (source.kind === "ephemeral")
    return [await createSigningKey(await generatePrivateKey(algorithm), algorithm, "the ephemeral key")];
  return [await keyFromEnvironment(source.variable, algorithm, env)];
}

/**
 * Reads the keys of `source` that exist now, making none.
 *
 * @throws {KeyError} ERR_KEY as {@link openKeys} would
 */
export async function readKeys(
  source: KeySource,
  algorithm: SigningAlgorithm,
  env: Environment,
): Promise<readonly SigningKey[]> {
  if (source.kind === "directory") return readKeyDirectory(source.directory, algorithm);
  return source.kind === "ephemeral" ? [] : [await keyFromEnvironment(source.variable, algorithm, env)];
}

function keyFromEnvironment(
  variable: string,
  algorithm: SigningAlgorithm,
  env: Environment,
): Promise<SigningKey> {
  const source = `the environment variable ${variable}`;
  const text = env[variable];
  if (text === undefined) throw new KeyError(source, "not set; expected a private key in PEM or as a JWK");
  // A variable often holds a PEM whose line ends were written as \n.
  const key = parsePrivateKey(text.includes("\n") ? text : text.replaceAll("\\n", "\n"), source);
  return createSigningKey(key, algorithm, source);
}
