import { isDeepStrictEqual } from "node:util";
import type { Config } from "../config/config.ts";
import type { KeyPath } from "../config/document.ts";
import type { Expectation } from "../config/policy-test-file.ts";
import { statusByCode } from "../errors.ts";
import type { Decision, Passage } from "../gateway/decision.ts";
import type { JsonValue } from "../issuer/claims-set.ts";
import { fieldValues } from "../policy/caller-request.ts";
import { upstreamOf } from "./explanation.ts";

/** Something that is not as expected. */
export interface Difference {
  /** From `expect`. */
  readonly path: KeyPath;
  readonly expected: string;
  readonly actual: string;
}

/** What is not as expected in what becomes of a request. */
export function differencesFrom(expect: Expectation, config: Config, decision: Decision): Difference[] {
  const differences = ofOutcome(expect, decision);
  if (decision.kind === "forward") return [...differences, ...ofPassage(expect, config, decision)];
  // Nothing has a field or a claim that must be absent; but whoever says so means a request that is forwarded.
  const key = FORWARDED_KEYS.find((one) => expect[one] !== undefined);
  if (differences.length > 0 || key === undefined) return differences;
  return [{ path: [key], expected: "a request that is forwarded", actual: describeOutcome(decision) }];
}

const FORWARDED_KEYS = ["claims", "absentClaims", "fields", "absentFields", "upstream"] as const;

function ofOutcome({ policy, status, code }: Expectation, decision: Decision): Difference[] {
  const outcome = describeOutcome(decision);
  const refused = decision.kind === "refused" ? decision : undefined;
  const matched = decision.kind === "forward" ? decision.route.policy.name : refused?.policy?.name;
  const answered = decision.kind === "forward" ? "forwarded" : decision.kind;
  const became = refused ? statusByCode[refused.code] : answered;
  return [
    ...difference(["policy"], policy, matched, matched ?? `none: ${outcome}`),
    ...difference(["status"], status, became, outcome),
    ...difference(["code"], code, refused?.code, outcome),
  ];
}

function ofPassage(expect: Expectation, config: Config, passage: Passage): Difference[] {
  const { fields, token } = passage;
  const claims = token && claimsOf(token.jwt);
  const claimNamed = (name: string) => (claims && Object.hasOwn(claims, name) ? claims[name] : undefined);
  const upstream = upstreamOf(config, passage);
  return [
    ...Object.entries(expect.claims ?? {}).flatMap(([name, value]) => {
      const found = claimNamed(name);
      return difference(["claims", name], value, found, claims ? describe(found) : "no token");
    }),
    ...(expect.absentClaims ?? []).flatMap((name, index) => {
      const found = claimNamed(name);
      return found === undefined
        ? []
        : [{ path: ["absentClaims", index], expected: `no ${name}`, actual: describe(found) }];
    }),
    ...Object.entries(expect.fields ?? {}).flatMap(([name, values]) => {
      const found = fieldValues(fields, name.toLowerCase());
      return isDeepStrictEqual(found, values)
        ? []
        : [{ path: ["fields", name], expected: describeLines(values), actual: describeLines(found) }];
    }),
    ...(expect.absentFields ?? []).flatMap((name, index) =>
      // The value may be the credential that must not be there.
      fieldValues(fields, name).length === 0
        ? []
        : [{ path: ["absentFields", index], expected: `no ${name}`, actual: "there is one" }],
    ),
    ...difference(["upstream"], expect.upstream, upstream, describe(upstream)),
  ];
}

function difference(path: KeyPath, expected: unknown, found: unknown, actual: string): Difference[] {
  if (expected === undefined || isDeepStrictEqual(expected, found)) return [];
  return [{ path, expected: describe(expected), actual }];
}

function describeOutcome(decision: Decision): string {
  if (decision.kind === "forward") return "forwarded";
  if (decision.kind === "issuer") return "answered by the issuer";
  if (decision.kind === "options") return "answered by the sidecar, as it asks what a server can do";
  const { code, detail, cause } = decision;
  const reason = cause === undefined ? detail : `${detail}: ${cause}`;
  return `${statusByCode[code]} ${code} (${reason})`;
}

function describe(value: unknown): string {
  if (value === undefined) return "none";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** The values of a field, one a line. */
function describeLines(values: readonly string[]): string {
  return values.length > 1 ? JSON.stringify(values) : describe(values[0]);
}

function claimsOf(jwt: string): Readonly<Record<string, JsonValue>> {
  return JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString());
}
