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

/**
 * For how long verifiers keep the JWK Set (RFC 9111 §5.2.2.1).
 *
 * @param expectedSeconds what the configuration says; `undefined`: not known
 */
export function checkCaching({ headers }: Answer, expectedSeconds: number | undefined): Finding[] {
  const check = "caching";
  const field = headers["cache-control"];
  const seconds = Number(/(?:^|[\s,])max-age="?(\d+)/i.exec(field ?? "")?.[1] ?? Number.NaN);
  const remedy =
    "whatever stands in front of the sidecar must leave Cache-Control as it is (issuer.jwksMaxAge)";
  if (field === undefined) return [warn(check, "the JWK Set comes without Cache-Control", remedy)];
  if (Number.isNaN(seconds) || /no-store|no-cache/i.test(field))
    return [warn(check, `verifiers fetch the JWK Set for each token: Cache-Control is ${field}`, remedy)];
  if (expectedSeconds !== undefined && seconds !== expectedSeconds)
    return [
      warn(
        check,
        `verifiers keep the JWK Set for ${seconds} s, and ${expectedSeconds} s is configured`,
        remedy,
      ),
    ];
  return [ok(check, `verifiers keep the JWK Set for ${seconds} s`)];
}
