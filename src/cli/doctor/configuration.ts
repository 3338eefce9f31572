import { formatProblem } from "../../config/problems.ts";
import type { Findings } from "../validate.ts";
import { type Finding, fail, ok, warn } from "./finding.ts";

const CHECK = "configuration";

/** What `countersign validate` finds; what is wrong with the keys of one that can be read is told with them. */
export function checkConfiguration({ problems, warnings, summary, parsed }: Findings): Finding[] {
  const failures = problems
    .filter(({ key }) => parsed === undefined || key !== "issuer.keys")
    .map((problem) => fail(CHECK, formatProblem(problem), "mend it, and try: countersign validate"));
  const doubts = warnings.map((warning) =>
    warn(CHECK, formatProblem(warning), "change it, unless it is meant so"),
  );
  return [...(failures.length === 0 && summary !== undefined ? [ok(CHECK, summary)] : failures), ...doubts];
}
