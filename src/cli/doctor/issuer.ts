import type { Config } from "../../config/config.ts";
import { keyNeedsOf } from "../../config/key-needs.ts";
import { issuerUrlOf } from "../../config/listener-urls.ts";
import type { KeySet } from "../../issuer/keys/key-set.ts";
import { placeOf } from "../ask.ts";
import { checkClock } from "./clock.ts";
import { type Finding, fail } from "./finding.ts";
import { checkCaching, checkJwks } from "./jwks.ts";
import { fetchPublished, type Source } from "./published.ts";
import { checkTokens } from "./token.ts";

/** What {@link checkIssuer} knows. */
export interface IssuerCheckOptions {
  /** The issuer as verifiers know it; `undefined`: as configured. */
  readonly url: string | undefined;
  /** `undefined`: there is none that can be read. */
  readonly config: Config | undefined;
  /** `undefined`: they cannot be read. */
  readonly keys: KeySet | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Looks at the issuer as a verifier does: its documents, and a fresh token. */
export async function checkIssuer({ url, config, keys, now }: IssuerCheckOptions): Promise<Finding[]> {
  const configured = config && configuredUrlOf(config);
  const expected = url ?? configured;
  if (expected === undefined) return config ? [UNKNOWN] : [];
  const fallback = config && expected === configured ? listenerOf(config, expected) : undefined;
  const { findings, answer, jwks } = await fetchPublished(expected, fallback);
  return [
    ...findings,
    ...(answer ? checkClock(answer, now()) : []),
    ...(jwks ? checkJwks(jwks.document) : []),
    ...(jwks ? checkCaching(jwks.answer, config?.issuer.jwksMaxAgeSeconds) : []),
    ...(jwks && config && keys
      ? await checkTokens({
          issuer: configured ?? expected,
          expectedIssuer: expected,
          keys,
          needs: keyNeedsOf(config),
          jwks: jwks.document,
        })
      : []),
  ];
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
