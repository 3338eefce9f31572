import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { printableJson, printableText } from "../observability/printable.ts";
import { ask, formatPlace, jsonMapOf, type Place } from "./ask.ts";
import { configOption } from "./configuration.ts";
import { type OperatorsFlags, operatorsOf, operatorsOption } from "./operators.ts";

interface ReloadFlags extends OperatorsFlags {
  readonly json?: true;
}

/** For one answer. */
const TIMEOUT_MILLISECONDS = 2000;
/** Until the new configuration is in use, or is known to be none: what it names is opened first. */
const PATIENCE_MILLISECONDS = 15_000;
const POLL_MILLISECONDS = 100;

/** `countersign reload`: has a running sidecar read its configuration again, and says what became of it. */
export function addReloadCommand(program: Command): Command {
  return program
    .command("reload")
    .summary("have a running sidecar read its configuration again")
    .description(
      "Sends SIGHUP to the sidecar behind the operators' listener, and exits with 1 where the configuration cannot be used: then the one before goes on. The sidecar must run on this machine, as a user that this one may signal.",
    )
    .addOption(configOption())
    .addOption(operatorsOption())
    .option("--json", "print the result as JSON")
    .action(async (flags: ReloadFlags) => {
      const outcome = await reload(await operatorsOf(flags));
      if (outcome.problem !== undefined) process.exitCode = 1;
      if (flags.json) console.log(printableJson(outcome, 2));
      else if (outcome.problem === undefined) console.log(describeSuccess(outcome));
      else console.error(outcome.problem.split("\n").map(printableText).join("\n"));
    });
}

/** What became of it. */
interface ReloadOutcome {
  /** Why the configuration before goes on; `undefined` where it does not. */
  readonly problem?: string | undefined;
  /** The keys that have changed and have no effect before a restart. */
  readonly needsRestart: readonly string[];
}

function describeSuccess({ needsRestart }: ReloadOutcome): string {
  const restart = needsRestart.length === 0 ? "" : `; not before a restart: ${needsRestart.join(", ")}`;
  return `the configuration was read again, and is used from now on${restart}`;
}

async function reload(place: Place): Promise<ReloadOutcome> {
  const failed = (problem: string): ReloadOutcome => ({ problem, needsRestart: [] });
  const sentAt = Date.now();
  try {
    const { pid } = await statusOf(place);
    if (pid === undefined)
      return failed("this sidecar is run by a program of its own, which does not listen for SIGHUP");
    // Whoever answers may be a stranger: 0 and what is below are groups of processes, and all of them.
    if (typeof pid !== "number" || !Number.isSafeInteger(pid) || pid < 1)
      return failed(
        `${formatPlace(place)}/config: this is not the operators' listener of a sidecar: its pid is none`,
      );
    signal(pid);
    while (Date.now() - sentAt < PATIENCE_MILLISECONDS) {
      await sleep(POLL_MILLISECONDS);
      const { triedAt, problem, needsRestart } = await statusOf(place);
      if (Date.parse(String(triedAt)) < sentAt) continue;
      return {
        problem: typeof problem === "string" ? problem : undefined,
        needsRestart: Array.isArray(needsRestart) ? needsRestart.map(String) : [],
      };
    }
    return failed(
      `process ${pid} has not read its configuration again within ${PATIENCE_MILLISECONDS / 1000} s; its log says more`,
    );
  } catch (error) {
    return failed((error as Error).message);
  }
}

/** @throws {Error} why there is no answer */
async function statusOf(place: Place): Promise<Readonly<Record<string, unknown>>> {
  const url = `${formatPlace(place)}/config`;
  const { status, body } = await ask(place, "/config", TIMEOUT_MILLISECONDS).catch((error: Error) => {
    throw new Error(`${url}: no answer: ${error.message}`);
  });
  const told = jsonMapOf(body);
  if (status === 200 && told?.configuration !== undefined) return told;
  throw new Error(`${url}: this is not the operators' listener of a sidecar: the answer is ${status}`);
}

/** @throws {Error} why the process cannot be told */
function signal(pid: number): void {
  try {
    process.kill(pid, "SIGHUP");
  } catch (error) {
    const isForeign = (error as NodeJS.ErrnoException).code === "EPERM";
    throw new Error(
      isForeign
        ? `process ${pid} belongs to another user; send it SIGHUP as that user`
        : `there is no process ${pid} here; where the sidecar runs in a container, send SIGHUP there`,
    );
  }
}
