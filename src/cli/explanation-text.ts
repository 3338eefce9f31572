import type { RemovalReason } from "../gateway/fields.ts";
import { http } from "../node-http.ts";
import { printableJson, printableText } from "../observability/printable.ts";
import type { ClaimSource, ExplainedClaim, LeftOutClaim } from "./claim-sources.ts";
import type { ExplainedAnswer, ExplainedToken, Explanation, PassedOver } from "./explanation.ts";

/** An explanation for a person: what each stage of the request's path did, in its order. */
export function describeExplanation(explanation: Explanation): string {
  const { request, answers, token, warnings } = explanation;
  const path = request.path === null ? "" : ` ${printableText(request.path)}`;
  const host = request.host ? ` for ${printableText(request.host)}` : "";
  return [
    `${request.method}${path}${host}, from ${request.from}`,
    "",
    ...block("policy", policyLines(explanation)),
    ...block("asked", aligned(answers.map(describeAnswer))),
    ...block("user", userLines(explanation)),
    ...block("removed", aligned(removedLines(explanation))),
    ...block("token", token ? tokenLines(token) : []),
    ...block("forwarded", forwardedLines(explanation)),
    ...block("answered", answeredLines(explanation)),
    ...block("refused", refusalLines(explanation)),
    ...warnings.flatMap((warning) => block("warning", [printableText(warning)])),
  ].join("\n");
}

const LABEL_WIDTH = 11;

function block(label: string, lines: readonly string[]): string[] {
  return lines.map((line, index) => `${(index === 0 ? label : "").padEnd(LABEL_WIDTH)}${line}`);
}

/** A cell that is longer does not push the next column of all the other lines away. */
const MAX_CELL_WIDTH = 48;

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widthOf = (column: number) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0).filter((width) => width <= MAX_CELL_WIDTH), 0);
  return rows.map((row) =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widthOf(column))))
      .join("  ")
      .trimEnd(),
  );
}

function policyLines({ policy, passedOver }: Explanation): string[] {
  if (policy === null && passedOver.length === 0) return [];
  return [policy ?? "none matches", ...passedOver.map(describePassedOver)];
}

function describePassedOver({ policy, key, expected }: PassedOver): string {
  return `not ${policy}, which has ${key}: ${printableText(expected)}`;
}

function describeAnswer({ authenticator, answer, sub, reason, cause }: ExplainedAnswer): string[] {
  if (answer === "user") return [authenticator, `user ${printableText(sub ?? "")}`];
  const why = [reason, cause].filter((text) => text !== null).join(": ");
  return [authenticator, `${answer === "not-mine" ? "not mine" : answer}: ${printableText(why)}`];
}

function userLines({ user, outcome }: Explanation): string[] {
  if (!user) return outcome === "forwarded" ? ["anonymous"] : [];
  const claims = Object.entries(user.claims).map(([name, value]) => [
    printableText(name),
    printableJson(value),
  ]);
  return [printableText(user.sub), ...aligned(claims).map((line) => `  ${line}`)];
}

const REMOVALS: Readonly<Record<RemovalReason, string>> = {
  credential: "the credential of the caller",
  "credential-cookie": "one of its cookies is the credential of the caller",
  "token-field": "a field that only Countersign sets",
  "untrusted-peer": "believed only from trusted peers",
  "connection-option": "named by Connection",
  connection: "about this connection alone",
  forwarding: "what Countersign says itself",
};

function removedLines({ removedFields, removedQueryParameter }: Explanation): string[][] {
  const fields = removedFields.map(({ name, reason }) => [printableText(name), REMOVALS[reason]]);
  if (removedQueryParameter === null) return fields;
  return [...fields, [`?${printableText(removedQueryParameter)}`, REMOVALS.credential]];
}

function tokenLines(token: ExplainedToken): string[] {
  const { headerName, tokenPrefix, algorithm, bytes, isSignedWithConfiguredKey, claims, leftOut } = token;
  const key = isSignedWithConfiguredKey ? "" : ", signed with a key made for this answer";
  return [
    `${headerName}: ${tokenPrefix === "" ? "" : `${tokenPrefix} `}…, ${algorithm}, ${bytes} bytes${key}`,
    ...aligned(claims.map(describeClaim)).map((line) => `  ${line}`),
    ...leftOut.map((claim) => `  ${describeLeftOut(claim)}`),
  ];
}

function describeClaim({ name, value, ...source }: ExplainedClaim): string[] {
  return [printableText(name), printableJson(value), describeSource(source)];
}

function describeSource({ source, key, template, remark }: ClaimSource): string {
  const text = template === null ? "" : printableText(template);
  if (source === "default")
    return text === "" ? `default: ${remark}` : `${key}: ${text} has no value; default: ${remark}`;
  if (source === "configuration") return text === "" ? `${key}` : `${key}: ${text}`;
  return remark ?? `${key}`;
}

function describeLeftOut({ name, key, template }: LeftOutClaim): string {
  return `no ${printableText(name)}: ${key}: ${printableText(template)} has no value`;
}

function forwardedLines({ request, target, upstream, token }: Explanation): string[] {
  if (target === null) return [];
  return [`${request.method} ${printableText(target)} to ${upstream}${token ? "" : ", without a token"}`];
}

function answeredLines({ outcome }: Explanation): string[] {
  if (outcome === "issuer") return ["by the issuer; never forwarded"];
  return outcome === "options"
    ? ["by the sidecar: the request asks what a server can do, and goes no further"]
    : [];
}

function refusalLines({ refusal }: Explanation): string[] {
  if (!refusal) return [];
  const { status, code, detail, cause } = refusal;
  const lines = [`${status} ${http.STATUS_CODES[status]}, ${code}`, printableText(detail)];
  return cause === null ? lines : [...lines, printableText(cause)];
}
