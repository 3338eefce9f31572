import { parseArgs } from "node:util";

/** What every program of these takes. */
const COMMON = {
  json: { type: "string" },
  svg: { type: "string" },
  help: { type: "boolean", short: "h", default: false },
};

/**
 * Reads the command line of a program that measures processes; with `--help` it ends the process with `help`.
 *
 * @param script what runs it, such as `npm run bench`
 * @param options its own, beside `--json`, `--svg` and `--help`: as `parseArgs` of node:util takes them
 * @returns the `values`, and `fail`, which ends the process with 2 and a message
 */
export function readCommandLine({ script, help, options }) {
  const fail = (message) => {
    console.error(`${message}\n${script} -- --help`);
    process.exit(2);
  };
  let values;
  try {
    values = parseArgs({ options: { ...options, ...COMMON } }).values;
  } catch (error) {
    fail(error.message);
  }
  if (values.help) {
    console.log(help);
    process.exit(0);
  }
  if (process.platform !== "linux") fail("It measures what Linux counts for a process.");
  return { values, fail };
}

/** Those of `all` that a list such as `a,b` names, in their order; all of them where there is no list. */
export function namedIn(list, all, fail) {
  if (list === undefined) return all;
  const names = new Set(list.split(","));
  for (const name of names) if (!all.some((one) => one.name === name)) fail(`--only: there is no "${name}"`);
  return all.filter(({ name }) => names.has(name));
}
