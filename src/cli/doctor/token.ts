import { createLocalJWKSet, type JSONWebKeySet, type JWTVerifyGetKey, jwtVerify } from "jose";
import { reasonOf } from "../../errors.ts";
import type { KeySet } from "../../issuer/keys/key-set.ts";
import type { KeyNeed } from "../../issuer/keys/ring.ts";
import { createTokens } from "../../issuer/tokens.ts";
import { fixedKeys } from "../rehearsal-keys.ts";
import { COPY_REMEDY, type Finding, fail, ok } from "./finding.ts";

/** What {@link checkTokens} needs. */
export interface TokenCheckOptions {
  /** The issuer that the configuration names, and the one that a verifier expects. */
  readonly issuer: string;
  readonly expectedIssuer: string;
  /** The keys as they are on disk. */
  readonly keys: KeySet;
  readonly needs: readonly KeyNeed[];
  /** The JWK Set that verifiers see. */
  readonly jwks: Readonly<Record<string, unknown>>;
}

const AUDIENCE = "countersign-doctor";
const LIFETIME_SECONDS = 60;

/** Signs a token with each key that signs now, and verifies it with the public JWK Set as a backend would. Nothing is kept. */
export async function checkTokens(options: TokenCheckOptions): Promise<Finding[]> {
  let verifier: JWTVerifyGetKey;
  try {
    // Whether it is one is what jose looks at.
    verifier = createLocalJWKSet(options.jwks as unknown as JSONWebKeySet);
  } catch {
    // What is wrong with the document has been told.
    return [];
  }
  const findings: Finding[] = [];
  for (const need of options.needs) findings.push(...(await checkTokenOf(need, verifier, options)));
  return findings;
}

async function checkTokenOf(
  { purpose, algorithm }: KeyNeed,
  verifier: JWTVerifyGetKey,
  { issuer, expectedIssuer, keys, jwks }: TokenCheckOptions,
): Promise<Finding[]> {
  const key = keys.activeKey(purpose, algorithm)?.key;
  // That there is none has been told.
  if (!key) return [];
  const name = `${algorithm} key ${key.kid}`;
  const published: unknown = jwks.keys;
  if (!Array.isArray(published) || !published.some((one: { kid?: unknown } | null) => one?.kid === key.kid))
    return [
      fail(
        "signing key",
        `${name}, which signs now, is not in the public JWK Set`,
        `the sidecar that runs has other keys: start it again with this configuration, or name its configuration with -c; a cache in front may be in the way; on a static host: ${COPY_REMEDY}`,
      ),
    ];
  const tokens = createTokens({ url: issuer, keys: fixedKeys([keys]), now: Date.now });
  try {
    const token = await tokens.tokenFor({
      subject: AUDIENCE,
      audience: AUDIENCE,
      lifetimeSeconds: LIFETIME_SECONDS,
      additionalClaims: {},
      notBefore: false,
      tokenId: true,
      reuse: false,
      algorithm,
      purpose,
    });
    await jwtVerify(token, verifier, { issuer: expectedIssuer, audience: AUDIENCE, algorithms: [algorithm] });
    return [
      ok("signing key", `${name} is in the public JWK Set`),
      ok("token", `a fresh ${algorithm} token is verified with the public JWK Set`),
    ];
  } catch (error) {
    return [
      ok("signing key", `${name} is in the public JWK Set`),
      fail(
        "token",
        `a fresh ${algorithm} token is refused: ${reasonOf(error)}`,
        "backends refuse every token for the same reason; see docs/operating.md",
      ),
    ];
  }
}
