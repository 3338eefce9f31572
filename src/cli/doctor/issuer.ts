import type { Config } from "../../config/config.ts";
import { keyNeedsOf } from "../../config/key-needs.ts";
import { issuerUrlOf } from "../../config/listener-urls.ts";
import { placeOf } from "../ask.ts";
import type { LiveKeys } from "../live-keys.ts";
import { statementsOf } from "../static-issuer/documents.ts";
import { checkClock } from "./clock.ts";
import { type Finding, fail } from "./finding.ts";
import { checkIdentityFiles } from "./identity-files.ts";
import { type CachingExpectation, checkCaching, checkJwks } from "./jwks.ts";
import { checkPublicKeys } from "./public-keys.ts";
import { checkPublicMetadata } from "./public-metadata.ts";
import { fetchPublished, type Source } from "./published.ts";
import { checkTokens } from "./token.ts";

/** What {@link checkIssuer} knows. */
export interface IssuerCheckOptions {
  /** The issuer as verifiers know it; `undefined`: as configured. */
  readonly url: string | undefined;
  /** `undefined`: there is none that can be read. */
  readonly config: Config | undefined;
  /** `undefined`: they cannot be read. */
  readonly live: LiveKeys | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Looks at the issuer as a verifier does: its documents, and a fresh token. */
export async function checkIssuer({ url, config, live, now }: IssuerCheckOptions): Promise<Finding[]> {
  const configured = config && configuredUrlOf(config);
  const expected = url ?? configured;
  if (expected === undefined) return config ? [UNKNOWN] : [];
  const fallback = config && expected === configured ? listenerOf(config, expected) : undefined;
  const { findings, answer, metadata, jwks } = await fetchPublished(expected, fallback);
  const needs = config ? keyNeedsOf(config) : [];
  const signing = needs.map(({ purpose, algorithm }) => live?.set.activeKey(purpose, algorithm)?.key.kid);
  return [
    ...findings,
    // Of another URL than the configured one, all that hangs on it would be told again.
    ...(metadata && config && live && expected === configured
      ? checkPublicMetadata(metadata, statementsOf(config, expected, live.set).metadata)
      : []),
    ...(answer ? checkClock(answer, now()) : []),
    ...(jwks ? checkJwks(jwks.document) : []),
    ...(jwks ? checkCaching(jwks.answer, config && cachingOf(config)) : []),
    ...(jwks && config && live
      ? await checkTokens({
          issuer: configured ?? expected,
          expectedIssuer: expected,
          keys: live.set,
          needs,
          jwks: jwks.document,
        })
      : []),
    ...(jwks && live ? checkPublicKeys(jwks.document, live, (kid) => signing.includes(kid)) : []),
    ...(config
      ? await checkIdentityFiles(config, { issuer: expected, jwks: jwks?.document, now: now() })
      : []),
  ];
}

function cachingOf({ issuer: { jwksMaxAgeSeconds, keys } }: Config): CachingExpectation {
  const isManaged = keys.kind === "directory" || keys.kind === "redis";
  const overlapSeconds = isManaged ? keys.rotation.overlapSeconds : undefined;
  return { maxAgeSeconds: jwksMaxAgeSeconds, overlapSeconds };
}

const UNKNOWN = fail(
  "issuer",
  "its URL is not known before the sidecar runs",
  "set issuer.url, or a port other than 0 in listen; or name it with --url",
);

/** `undefined`: only the sidecar that runs knows its port. */
function configuredUrlOf(config: Config): string | undefined {
  const { address } = config.listen[0];
  const isOpen = address.kind === "tcp" && address.port === 0;
  return config.issuer.url === undefined && isOpen ? undefined : issuerUrlOf(config);
}

/** Where else the sidecar itself serves the documents; `undefined`: nowhere that is known. */
function listenerOf({ listen: [first], issuer: { basePath } }: Config, url: string): Source | undefined {
  const place = placeOf(first);
  const isTheSame = place?.socketPath === undefined && `${place?.origin}${basePath}` === url && !first.tls;
  return place && !isTheSame ? { url, place, basePath } : undefined;
}
