import type { Config } from "../../config/config.ts";
import { issuerSettingsOf } from "../../config/issuer-settings.ts";
import { documentOf, oauthMetadataPathOf } from "../../gateway/issuer-endpoints.ts";
import { issuerOver, type JwkSet } from "../../issuer/issuer.ts";
import type { KeySet } from "../../issuer/keys/key-set.ts";
import type { ProviderMetadata } from "../../issuer/metadata.ts";
import { createTokens } from "../../issuer/tokens.ts";
import { fixedKeys } from "../rehearsal-keys.ts";

/** What an issuer says of itself at one moment. */
export interface IssuerStatements {
  readonly metadata: ProviderMetadata;
  readonly jwks: JwkSet;
}

/** What a sidecar with this configuration and these keys says of its issuer. */
export function statementsOf(config: Config, url: string, keySet: KeySet): IssuerStatements {
  const keys = fixedKeys([keySet]);
  const tokens = createTokens({ url, keys, now: Date.now });
  const issuer = issuerOver(url, keys, tokens, issuerSettingsOf(config));
  return { metadata: issuer.metadata(), jwks: issuer.jwks() };
}

/** One file of a static issuer. */
export interface StaticDocument {
  /** Its path below the folder that stands for the issuer's URL, with `/`. */
  readonly path: string;
  /** Where verifiers look for it. */
  readonly url: string;
  /** What a sidecar would answer, byte for byte. */
  readonly body: string;
}

/** The path of the JWK Set in a static issuer. */
export const JWKS_PATH = ".well-known/jwks.json";

/** The files of a static issuer at `url`, in the order in which they are to be written: metadata never promises a key too soon. */
export function documentsOf(url: string, { metadata, jwks }: IssuerStatements): StaticDocument[] {
  const { origin, pathname } = new URL(url);
  const oauthUrl = `${origin}${oauthMetadataPathOf(pathname.replace(/\/$/, ""))}`;
  const { body } = documentOf(metadata);
  const discovery = ".well-known/openid-configuration";
  return [
    { path: JWKS_PATH, url: `${url}/${JWKS_PATH}`, body: documentOf(jwks).body },
    { path: discovery, url: `${url}/${discovery}`, body },
    { path: ".well-known/oauth-authorization-server", url: oauthUrl, body },
  ];
}
