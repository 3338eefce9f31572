import { SIGNING_ALGORITHMS } from "../../issuer/algorithms.ts";
import type { Answer } from "../ask.ts";
import { type Finding, fail, ok, warn } from "./finding.ts";

/** Members of a JWK that are private, or the key itself (RFC 7518 §6.2.2, §6.3.2 and §6.4, RFC 8037 §2). */
const PRIVATE_MEMBERS = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/** What can be said of a JWK Set without a token. */
export function checkJwks(document: Readonly<Record<string, unknown>>): Finding[] {
  const check = "JWK Set";
  if (!Array.isArray(document.keys) || document.keys.length === 0)
    return [
      fail(check, "there is no key in it", "see in the log of the sidecar what is wrong with its keys"),
    ];
  const keys = document.keys.map((key: unknown) => (typeof key === "object" && key !== null ? key : {}));
  const problems = keys.flatMap((key, index) => problemsOf(key, index, keys));
  if (problems.length > 0) return problems.map((found) => fail(check, found, remedyOf(found)));
  const names = (keys as { alg: string; kid: string }[]).map(({ alg, kid }) => `${alg} ${kid}`);
  return [ok(check, `${names.length === 1 ? "one key" : `${names.length} keys`}: ${names.join(", ")}`)];
}

const SHOWN = "shows its private members";

function problemsOf(key: object, index: number, keys: readonly object[]): string[] {
  const { kty, kid, use, alg } = key as Readonly<Record<string, unknown>>;
  const name = typeof kid === "string" && kid !== "" ? `key ${kid}` : `key ${index + 1} of the list`;
  const isTwice = keys.findIndex((other) => (other as { kid?: unknown }).kid === kid) !== index;
  const checks: readonly (readonly [boolean, string])[] = [
    [typeof kid !== "string" || kid === "", "has no kid"],
    [typeof kid === "string" && isTwice, "stands there twice"],
    [typeof kty !== "string", "has no kty"],
    [use !== "sig", "is not for signatures (use)"],
    [!SIGNING_ALGORITHMS.includes(alg as never), "has no alg of a public key"],
    [PRIVATE_MEMBERS.some((member) => Object.hasOwn(key, member)), SHOWN],
  ];
  return checks.flatMap(([isWrong, what]) => (isWrong ? [`${name} ${what}`] : []));
}

function remedyOf(found: string): string {
  return found.endsWith(SHOWN)
    ? "whoever has seen it can sign: take it out of what serves it, and replace it: countersign keys rotate --emergency"
    : "the document is not as the sidecar made it: look for what changes it on the way";
}

/** What the configuration says of the time for which verifiers may keep the JWK Set. In seconds. */
export interface CachingExpectation {
  /** `issuer.jwksMaxAge` */
  readonly maxAgeSeconds: number;
  /** For how long a new key is published before it signs; `undefined`: whoever keeps the keys knows. */
  readonly overlapSeconds: number | undefined;
}

/**
 * For how long verifiers keep the JWK Set, and shared caches in front of them (RFC 9111 §5.2.2.1 and §5.2.2.10).
 *
 * @param expected `undefined`: not known
 */
export function checkCaching({ headers }: Answer, expected: CachingExpectation | undefined): Finding[] {
  const check = "caching";
  const field = headers["cache-control"];
  const seconds = longestAgeIn(field ?? "");
  const remedy = `whatever stands in front of the sidecar must leave Cache-Control as it is (issuer.jwksMaxAge); a static host is told to send: public, max-age=${expected?.maxAgeSeconds ?? 300}`;
  if (field === undefined) return [warn(check, "the JWK Set comes without Cache-Control", remedy)];
  if (Number.isNaN(seconds) || /no-store|no-cache/i.test(field))
    return [warn(check, `verifiers fetch the JWK Set for each token: Cache-Control is ${field}`, remedy)];
  const found = `verifiers keep the JWK Set for ${seconds} s`;
  if (!expected || seconds === expected.maxAgeSeconds) return [ok(check, found)];
  if (seconds > (expected.overlapSeconds ?? Number.POSITIVE_INFINITY))
    return [
      fail(
        check,
        `${found}, and a new key signs after ${expected.overlapSeconds} s (issuer.keys.overlap): at a rotation they refuse its tokens`,
        `${remedy}; or make issuer.keys.overlap longer`,
      ),
    ];
  return [warn(check, `${found}, and ${expected.maxAgeSeconds} s is configured`, remedy)];
}

/** max-age, or s-maxage where that is longer; NaN where there is no max-age: then caches guess, or keep nothing. */
function longestAgeIn(field: string): number {
  const secondsOf = (name: string) => {
    const value = new RegExp(`(?:^|[\\s,])${name}="?(\\d+)`, "i").exec(field)?.[1];
    return value === undefined ? undefined : Number(value);
  };
  return Math.max(secondsOf("max-age") ?? Number.NaN, secondsOf("s-maxage") ?? 0);
}
