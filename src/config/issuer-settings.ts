import { resolve } from "node:path";
import type { z } from "zod";
import { tokenEndpointMetadataOf } from "../gateway/token-endpoint/metadata.ts";
import type { Claims } from "../issuer/claims-set.ts";
import type { Identity, IssuerSettings } from "../issuer/issuer.ts";
import type { KeySource } from "../issuer/keys/key-source.ts";
import type { Config } from "./config.ts";
import { DEFAULT_DIRECTORY, type identitySection, type KeysSection, rotationOf } from "./issuer-section.ts";

/**
 * Where the keys come from.
 *
 * @param baseDirectory what relative paths start from
 */
export function keySourceOf(
  { keys, jwksMaxAge }: { readonly keys: KeysSection; readonly jwksMaxAge: number },
  baseDirectory: string,
): KeySource {
  const { directory = DEFAULT_DIRECTORY, files, env, ephemeral, passphrase } = keys;
  if (ephemeral) return { kind: "ephemeral" };
  if (env !== undefined) return { kind: "env", variable: env, passphrase };
  if (files) return { kind: "files", files: files.map((file) => resolve(baseDirectory, file)), passphrase };
  return {
    kind: "directory",
    directory: resolve(baseDirectory, directory),
    rotation: rotationOf(keys, jwksMaxAge),
    passphrase,
  };
}

/** Which deployment this is. */
export function identityOf(section: z.output<typeof identitySection>): Identity {
  const { subject, account, project, deployment, environment_type } = section;
  const claims = Object.entries({ account, project, deployment, environment_type });
  return {
    subject: subject ?? [account, project, deployment].filter((part) => part !== undefined).join("/"),
    claims: Object.fromEntries(claims.filter(([, value]) => value !== undefined)) as Claims,
    algorithm: section.algorithm,
    lifetimeSeconds: section.expiresIn,
    audiences: section.audiences,
  };
}

/** How the issuer of a configuration issues. */
export function issuerSettingsOf({ issuer, identity, tokenEndpoint }: Config): IssuerSettings {
  return { ...issuer, identity, tokenEndpoint: tokenEndpoint && tokenEndpointMetadataOf(tokenEndpoint) };
}
