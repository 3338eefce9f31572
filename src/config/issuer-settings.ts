import { resolve } from "node:path";
import { tokenEndpointMetadataOf } from "../gateway/token-endpoint/metadata.ts";
import type { IssuerSettings } from "../issuer/issuer.ts";
import type { KeySource } from "../issuer/keys/key-source.ts";
import type { Config } from "./config.ts";
import { DEFAULT_DIRECTORY, type KeysSection, rotationOf } from "./issuer-section.ts";
import { pkcs11SourceOf } from "./pkcs11-section.ts";
import { redisOptionsOf } from "./redis-section.ts";

/**
 * Where the keys come from.
 *
 * @param baseDirectory what relative paths start from
 */
export function keySourceOf(
  { keys, jwksMaxAge }: { readonly keys: KeysSection; readonly jwksMaxAge: number },
  baseDirectory: string,
): KeySource {
  const { directory = DEFAULT_DIRECTORY, redis, files, env, pkcs11, ephemeral, passphrase } = keys;
  const rotation = rotationOf(keys, jwksMaxAge);
  if (ephemeral) return { kind: "ephemeral" };
  if (pkcs11) return pkcs11SourceOf(pkcs11, jwksMaxAge, baseDirectory);
  if (env !== undefined) return { kind: "env", variable: env, passphrase };
  if (files) return { kind: "files", files: files.map((file) => resolve(baseDirectory, file)), passphrase };
  if (redis) return { kind: "redis", redis: redisOptionsOf(redis, baseDirectory), rotation };
  return { kind: "directory", directory: resolve(baseDirectory, directory), rotation, passphrase };
}

/** How the issuer of a configuration issues. */
export function issuerSettingsOf({ issuer, identity, tokenEndpoint }: Config): IssuerSettings {
  return { ...issuer, identity, tokenEndpoint: tokenEndpoint && tokenEndpointMetadataOf(tokenEndpoint) };
}
