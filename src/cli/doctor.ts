import type { Command } from "commander";
import { printableJson, printableText } from "../observability/printable.ts";
import { type ConfigurationFlags, configOption, findConfigurationFile } from "./configuration.ts";
import { checkConfiguration } from "./doctor/configuration.ts";
import type { Finding } from "./doctor/finding.ts";
import { checkIssuer } from "./doctor/issuer.ts";
import { checkKeys } from "./doctor/keys.ts";
import { checkOperators } from "./doctor/operators.ts";
import { checkRuntime } from "./doctor/runtime.ts";
import { checkUpstreams } from "./doctor/upstreams.ts";
import { UsageError } from "./usage-error.ts";
import { validate } from "./validate.ts";

interface DoctorFlags extends ConfigurationFlags {
  readonly url?: string;
  readonly json?: true;
}

/** `countersign doctor`: looks at a running sidecar as a verifier would, and at everything around it. */
export function addDoctorCommand(program: Command): Command {
  return program
    .command("doctor")
    .summary("find out what is wrong")
    .description(
      "Looks at a sidecar that runs, from beside it: fetches the keys as a backend does and verifies a fresh token with them, and checks the clock, the key directory, the backends, the operators' listener, the configuration and Node.js. It says what it found and what to do, changes nothing, and exits with 1 where something fails. With --url and no configuration it looks at the issuer alone.",
    )
    .addOption(configOption())
    .option("--url <url>", "the issuer as backends know it (default: the configured one)")
    .option("--json", "print the findings as JSON")
    .action(async (flags: DoctorFlags) => {
      if (flags.url !== undefined) checkUrl(flags.url);
      const findings = await examine(flags);
      const passed = findings.every(({ state }) => state !== "fail");
      if (!passed) process.exitCode = 1;
      if (flags.json) console.log(printableJson({ passed, findings }, 2));
      else print(findings);
    });
}

function checkUrl(url: string): void {
  const parsed = /^https?:/i.test(url) ? URL.parse(url) : null;
  if (!parsed || parsed.search || parsed.hash || parsed.username || parsed.password)
    throw new UsageError('--url: expected the URL of an issuer such as "http://127.0.0.1:8080/__issuer"');
}

async function examine(flags: DoctorFlags): Promise<Finding[]> {
  const now = Date.now;
  const runtime = checkRuntime(process.version, now());
  if (flags.url !== undefined && findConfigurationFile(flags) === undefined)
    return [...runtime, ...(await checkIssuer({ url: flags.url, config: undefined, live: undefined, now }))];
  const found = await validate(flags);
  const config = found.parsed?.config;
  const checked = config && (await checkKeys(config, now()));
  await using _ = checked?.live;
  const [operators, issuer, upstreams] = await Promise.all([
    config ? checkOperators(config) : [],
    checkIssuer({ url: flags.url, config, live: checked?.live, now }),
    config ? checkUpstreams(config, now()) : [],
  ]);
  return [
    ...runtime,
    ...checkConfiguration(found),
    ...(checked?.findings ?? []),
    ...operators,
    ...issuer,
    ...upstreams,
  ];
}

function print(findings: readonly Finding[]): void {
  const width = Math.max(...findings.map(({ check }) => check.length));
  for (const { check, state, found, remedy } of findings) {
    console.log(`${state.padEnd(4)}  ${check.padEnd(width)}  ${printableText(found)}`);
    if (remedy !== undefined) console.log(`${" ".repeat(width + 8)}-> ${printableText(remedy)}`);
  }
  const count = (state: Finding["state"]) => findings.filter((finding) => finding.state === state).length;
  console.log(`${count("ok")} ok, ${count("warn")} to look at, ${count("fail")} to mend`);
}
