import { printableText } from "./printable.ts";

/** A line of the log that has been read again. */
type Line = Readonly<Record<string, unknown>> & { readonly time: string; readonly level: string };

const LEVELS: Readonly<Record<string, string>> = { warn: "warning: ", error: "error: " };

/** What else a request's line shows, and how it is called there. */
const SHOWN = {
  policy: "policy",
  authenticator: "by",
  subject: "subject",
  oauthClient: "client",
  upstream: "upstream",
  audience: "audience",
  requestId: "request",
} as const;

/** Makes text of one JSON line, for people: what stands in it cannot look like another line, nor steer the terminal. */
export function prettyLine(json: string): string {
  const line = JSON.parse(json) as Line;
  const message = line.msg === "request" ? requestText(line) : String(line.msg);
  const start = `${line.time} ${LEVELS[line.level] ?? ""}${printableText(message)}`;
  if (typeof line.problem !== "string") return `${start}\n`;
  const problem = line.problem.split("\n").map((text) => `  ${printableText(text)}`);
  return `${start}:\n${problem.join("\n")}\n`;
}

function requestText(line: Line): string {
  const { method, path = "", status, outcome, code, cause, reason, durationMs } = line;
  const end = status === undefined ? outcome : outcome === "complete" ? status : `${status} ${outcome}`;
  const why = [code, cause ?? reason].filter((part) => part !== undefined).join(": ");
  const shown = Object.entries(SHOWN).flatMap(([name, label]) =>
    line[name] === undefined ? [] : [`${label}=${line[name]}`],
  );
  return [`${method} ${path} ${end}`, `${durationMs} ms`, ...(why === "" ? [] : [why]), ...shown].join("  ");
}
