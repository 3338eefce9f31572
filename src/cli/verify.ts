import { readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import type { Command } from "commander";
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  decodeProtectedHeader,
  errors,
  type JSONWebKeySet,
  type JWTVerifyGetKey,
  jwtVerify,
} from "jose";
import { keyNeedsOf } from "../config/key-needs.ts";
import { issuerUrlOf } from "../config/listener-urls.ts";
import { CountersignError, reasonOf } from "../errors.ts";
import { SIGNING_ALGORITHMS } from "../issuer/algorithms.ts";
import { readKeys } from "../issuer/keys/key-source.ts";
import { printableJson, printableText } from "../observability/printable.ts";
import { type ConfigurationFlags, configOption, readConfiguration } from "./configuration.ts";
import { formatPeriod } from "./key-table.ts";
import { UsageError } from "./usage-error.ts";

interface VerifyFlags extends ConfigurationFlags {
  readonly jwks?: string;
  readonly issuer?: string;
  readonly audience?: string;
  readonly json?: true;
}

/** `countersign verify`: checks a token as a backend would, and says what is wrong with it. */
export function addVerifyCommand(program: Command): Command {
  return program
    .command("verify")
    .summary("verify a token")
    .description(
      "Verifies the signature, the times, the issuer and the audience of a token as a backend would, and prints its claims; exits with 1 where something is wrong. The keys are those at --jwks, else those that the discovery of --issuer names, else the configured ones, read from where they are kept.",
    )
    .argument("<token>", "the token, with or without its prefix; - reads it from standard input")
    .addOption(configOption())
    .option("--jwks <place>", "a JWK Set: a URL or a file")
    .option("--issuer <iss>", "the iss that is expected (default: the configured one)")
    .option("--audience <aud>", "the aud that is expected (default: any)")
    .option("--json", "print the result as JSON")
    .action(async (token: string, flags: VerifyFlags) => {
      const jwt = bareToken(token === "-" ? await text(process.stdin) : token);
      // jose would take an empty one for none.
      checkNotEmpty("--issuer", flags.issuer);
      checkNotEmpty("--audience", flags.audience);
      const { keys, issuer } = await verifierOf(flags);
      const result = await verify(jwt, keys, issuer, flags.audience);
      if (!result.valid) process.exitCode = 1;
      if (flags.json) console.log(printableJson(result, 2));
      else print(result);
    });
}

/** Without the prefix of the field that it was copied from. */
function bareToken(token: string): string {
  const [last = ""] = token.trim().split(/\s+/).slice(-1);
  if (last === "") throw new UsageError("expected a token");
  return last;
}

function checkNotEmpty(flag: string, value: string | undefined): void {
  if (value === "") throw new UsageError(`${flag}: expected a string that is not empty`);
}

interface Verifier {
  readonly keys: JWTVerifyGetKey;
  readonly issuer: string | undefined;
}

async function verifierOf(flags: VerifyFlags): Promise<Verifier> {
  const { jwks, issuer } = flags;
  if (jwks !== undefined) return { keys: await keysAt(jwks), issuer };
  if (issuer !== undefined && flags.config === undefined)
    return { keys: await discoveredKeys(issuer), issuer };
  const { config } = await readConfiguration(flags);
  if (config.issuer.keys.kind === "ephemeral")
    throw new UsageError(
      "the keys are in the memory of the running sidecar alone; name its JWK Set with --jwks URL",
    );
  const options = { needs: keyNeedsOf(config), env: process.env, now: Date.now };
  await using read = await readKeys(config.issuer.keys, options);
  return {
    keys: createLocalJWKSet({ keys: [...read.set.published] }),
    issuer: issuer ?? issuerUrlOf(config),
  };
}

async function keysAt(place: string): Promise<JWTVerifyGetKey> {
  if (/^https?:/i.test(place)) return createRemoteJWKSet(urlOf("--jwks", place));
  try {
    return createLocalJWKSet(JSON.parse(await readFile(place, "utf8")) as JSONWebKeySet);
  } catch (error) {
    throw new UsageError(`--jwks: ${place} cannot be read as a JWK Set: ${reasonOf(error)}`);
  }
}

const DISCOVERY_TIMEOUT_MILLISECONDS = 5000;

/** OpenID Connect Discovery 1.0 §4. */
async function discoveredKeys(issuer: string): Promise<JWTVerifyGetKey> {
  const url = urlOf("--issuer", `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`);
  const refused = (problem: string) =>
    new CountersignError("ERR_TOKEN_REFUSED", printableText(`${url} ${problem}`));
  let metadata: { issuer?: unknown; jwks_uri?: unknown } | null;
  try {
    const signal = AbortSignal.timeout(DISCOVERY_TIMEOUT_MILLISECONDS);
    const response = await fetch(url, { redirect: "error", signal });
    if (!response.ok) throw new Error(`the answer is ${response.status}`);
    metadata = (await response.json()) as typeof metadata;
  } catch (error) {
    const cause = error instanceof Error && error.cause ? error.cause : error;
    throw refused(`cannot be read: ${reasonOf(cause)}`);
  }
  if (metadata?.issuer !== issuer) throw refused(`is of another issuer: ${String(metadata?.issuer)}`);
  const jwksUri = httpUrl(String(metadata.jwks_uri));
  if (!jwksUri) throw refused("has no jwks_uri that is a URL");
  return createRemoteJWKSet(jwksUri);
}

function urlOf(name: string, value: string): URL {
  const url = httpUrl(value);
  if (url) return url;
  throw new UsageError(`${name}: expected a URL such as "http://127.0.0.1:8080/__issuer"`);
}

function httpUrl(value: string): URL | null {
  return /^https?:/i.test(value) ? URL.parse(value) : null;
}

type Result =
  | { readonly valid: true; readonly header: unknown; readonly claims: Readonly<Record<string, unknown>> }
  | { readonly valid: false; readonly code: "ERR_TOKEN_REFUSED"; readonly reason: string };

async function verify(
  jwt: string,
  keys: JWTVerifyGetKey,
  issuer: string | undefined,
  audience: string | undefined,
): Promise<Result> {
  try {
    const { protectedHeader, payload } = await jwtVerify(jwt, keys, {
      algorithms: [...SIGNING_ALGORITHMS],
      requiredClaims: ["exp"],
      ...(issuer !== undefined && { issuer }),
      ...(audience !== undefined && { audience }),
    });
    return { valid: true, header: protectedHeader, claims: payload };
  } catch (error) {
    return {
      valid: false,
      code: "ERR_TOKEN_REFUSED",
      reason: refusalOf(error, jwt, { iss: issuer, aud: audience }),
    };
  }
}

function refusalOf(
  error: unknown,
  jwt: string,
  expected: Readonly<Record<string, string | undefined>>,
): string {
  if (error instanceof errors.JWTExpired)
    return `it expired ${formatPeriod(Date.now() / 1000 - Number(error.payload.exp))} ago`;
  if (error instanceof errors.JWTClaimValidationFailed) {
    const { claim } = error;
    if (error.reason === "missing") return `it has no claim ${claim}`;
    const found = JSON.stringify(error.payload[claim]);
    return expected[claim] === undefined
      ? `its claim ${claim} is ${found}, which does not hold now`
      : `its claim ${claim} is ${found}, and ${JSON.stringify(expected[claim])} is expected`;
  }
  if (error instanceof errors.JWKSNoMatchingKey) {
    const { kid, alg } = decodeProtectedHeader(jwt);
    return `the JWK Set has no key for it (kid ${JSON.stringify(kid)}, alg ${JSON.stringify(alg)}); it was signed by another issuer, or its key is gone`;
  }
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return "its signature is not that of the key; the token was changed, or cut";
  if (error instanceof errors.JOSEError) return error.message;
  return `the JWK Set cannot be read: ${reasonOf(error instanceof Error && error.cause ? error.cause : error)}`;
}

function print(result: Result): void {
  if (!result.valid) {
    console.error(`countersign: the token is refused: ${printableText(result.reason)}`);
    return;
  }
  const left = Number(result.claims.exp) - Date.now() / 1000;
  console.log(printableJson({ header: result.header, claims: result.claims }, 2));
  console.error(`valid for ${formatPeriod(left)} more`);
}
