import type { Command } from "commander";
import { printableJson, printableText } from "../observability/printable.ts";
import { ask, formatPlace, jsonMapOf, type Place } from "./ask.ts";
import { configOption } from "./configuration.ts";
import { type OperatorsFlags, operatorsOf, operatorsOption } from "./operators.ts";

interface HealthFlags extends OperatorsFlags {
  readonly live?: true;
  readonly json?: true;
}

/** What a probe waits for, at most. */
const TIMEOUT_MILLISECONDS = 2000;

/** `countersign health`: asks a running sidecar how it is. */
export function addHealthCommand(program: Command): Command {
  return program
    .command("health")
    .summary("ask a running sidecar whether it is ready")
    .description(
      "Asks the operators' listener of a running sidecar whether requests should be sent to it, and exits with 1 where they should not, or where nobody answers within 2 s. It is for the probe of a container. Of the configuration it reads admin alone, and without a file it asks at the default address.",
    )
    .addOption(configOption())
    .addOption(operatorsOption())
    .option("--live", "ask whether it lives, not whether it is ready")
    .option("--json", "print the result as JSON")
    .action(async (flags: HealthFlags) => {
      const place = await operatorsOf(flags);
      const health = await healthOf(place, flags.live ? "/livez" : "/readyz");
      if (health.kind !== "well") process.exitCode = 1;
      if (flags.json)
        console.log(printableJson({ url: health.url, status: health.status, ...health.details }, 2));
      else
        console.log(
          printableText(`${health.url}: ${health.status}`) +
            health.reasons.map((reason) => `\n  ${printableText(reason)}`).join(""),
        );
    });
}

/** What was found out about a sidecar. */
export interface Health {
  /** What was asked, such as `http://127.0.0.1:8081/readyz`. */
  readonly url: string;
  /** Ready, or alive; not so; nobody answers; somebody else does. */
  readonly kind: "well" | "unwell" | "silent" | "stranger";
  /** What it says itself, such as `ready` and `not ready`, or why it says nothing. */
  readonly status: string;
  /** What is wrong, a text each. */
  readonly reasons: readonly string[];
  /** For a program. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** Asks the operators' listener at `place`. It never throws: whoever does not answer is not well. */
export async function healthOf(place: Place, path: "/livez" | "/readyz"): Promise<Health> {
  const url = `${formatPlace(place)}${path}`;
  const without = (kind: Health["kind"], status: string): Health => ({
    ...{ url, kind, status },
    ...{ reasons: [], details: {} },
  });
  try {
    const { status, body } = await ask(place, path, TIMEOUT_MILLISECONDS);
    const told = jsonMapOf(body);
    if (typeof told?.status !== "string" || (status !== 200 && status !== 503))
      return without("stranger", `this is not the operators' listener of a sidecar: the answer is ${status}`);
    const { checks } = told;
    return {
      url,
      kind: status === 200 ? "well" : "unwell",
      status: told.status,
      reasons: reasonsIn(checks),
      details: checks === undefined ? {} : { checks },
    };
  } catch (error) {
    return without("silent", `no answer: ${(error as Error).message}`);
  }
}

function reasonsIn(checks: unknown): string[] {
  if (typeof checks !== "object" || checks === null) return [];
  return Object.entries(checks).flatMap(([name, check]: [string, { reason?: unknown } | null]) =>
    typeof check?.reason === "string" ? [`${name}: ${check.reason}`] : [],
  );
}
