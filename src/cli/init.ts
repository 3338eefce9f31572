import { writeFile } from "node:fs/promises";
import { dirname, join, relative, resolve, sep } from "node:path";
import { pathToFileURL } from "node:url";
import type { Command } from "commander";
import { stringify } from "yaml";
import { parseUpstreamUrl } from "../config/addresses.ts";
import { ConfigError } from "../config/problems.ts";
import { reasonOf } from "../errors.ts";
import { printableText } from "../observability/printable.ts";
import { PACKAGE_FOLDER } from "../package-folder.ts";
import { ask, formatPlace } from "./ask.ts";
import { UsageError } from "./usage-error.ts";

const DEFAULT_FILE = "sidecar.yaml";
const DEFAULT_UPSTREAM = "http://127.0.0.1:9000";
const TIMEOUT_MILLISECONDS = 2000;

/** `countersign init`: writes a first configuration. */
export function addInitCommand(program: Command): Command {
  return program
    .command("init")
    .summary("write a first configuration")
    .description(
      "Writes a short configuration with comments, which works as it is, and says what comes next. It asks nothing, and overwrites nothing.",
    )
    .argument("[file]", "the new file", DEFAULT_FILE)
    .option("--from-upstream <url>", `the backend (default: ${DEFAULT_UPSTREAM})`)
    .action(async (file: string, { fromUpstream }: { readonly fromUpstream?: string }) => {
      const upstream = fromUpstream ?? DEFAULT_UPSTREAM;
      const place = placeOfUpstream(upstream);
      await create(file, initialConfiguration(upstream, schemaReference(file)));
      if (fromUpstream !== undefined)
        await ask(place, "/", TIMEOUT_MILLISECONDS).catch((error: Error) => {
          console.error(`note: ${formatPlace(place)} does not answer yet: ${printableText(error.message)}`);
        });
      console.log(nextSteps(file));
    });
}

function placeOfUpstream(url: string) {
  const reading = parseUpstreamUrl(url);
  if ("expected" in reading) throw new UsageError(`--from-upstream: ${reading.expected}`);
  const { origin, socketPath } = reading.value;
  return socketPath === undefined ? { origin } : { origin, socketPath };
}

const WRITE_PROBLEMS: Readonly<Record<string, string>> = {
  EEXIST: "this file exists, and is not overwritten; name another one: countersign init FILE",
  ENOENT: "the folder of this file does not exist; make it first",
};

async function create(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text, { flag: "wx" });
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    const message = WRITE_PROBLEMS[code] ?? `this file cannot be written: ${reasonOf(error)}`;
    throw new ConfigError([{ file, key: "", message }]);
  }
}

const SCHEMA_FILE = join(PACKAGE_FOLDER, "config", "sidecar.schema.json");

/** How an editor finds the schema that came with this program: from `file` where it is below its folder, else by its URL. */
export function schemaReference(file: string): string {
  const path = relative(dirname(resolve(file)), SCHEMA_FILE);
  const isBelow = !path.startsWith("..") && resolve(path) !== path;
  // An editor takes the reference to end at a space.
  return isBelow && !/\s/.test(path) ? `./${path.split(sep).join("/")}` : pathToFileURL(SCHEMA_FILE).href;
}

/**
 * The text of a first `sidecar.yaml`.
 *
 * @param upstream a URL, or `unix:` and a path
 * @param schema where an editor finds the JSON Schema
 */
export function initialConfiguration(upstream: string, schema: string): string {
  return `# yaml-language-server: $schema=${schema}
#
# Countersign stands in front of a backend, and puts a signed token on every request that it forwards.
# After a change: countersign validate. What a request would get: countersign explain GET /orders/42

# Where clients connect, instead of to the backend.
listen: 127.0.0.1:8080

# Where operators and probes connect: countersign health. Or false.
admin: 127.0.0.1:8081

# The backend that cannot authenticate its callers.
upstream: ${stringify(upstream).trimEnd()}

# Who signs the tokens. The backend verifies them with the keys at http://127.0.0.1:8080/__issuer/.well-known/jwks.json
issuer:
  # The iss of every token: a URL that the backend can reach. Without it, what listen says.
  # url: https://api.example.com/__issuer
  keys:
    # Made here at the first start, and rotated. Keep this folder to yourself.
    directory: ./keys

# Who may call: until then, everybody. Make a key with: countersign api-key create acme. Put the entry that it prints in the
# place of this one, and take the # away.
# authenticators:
#   partners:
#     type: apiKey
#     header: X-Api-Key
#     keys:
#       - subject: acme
#         sha256: what it printed
# authenticate: [partners]

# What every token says.
token:
  expiresIn: 5m
  # Which backend it is for: any name, and the backend expects the same. Without it, the URL of each request.
  audience: https://orders.internal
  # additionalClaims: { role: reader }

# In order; the first that matches decides. A request that none matches is answered 404.
policies:
  # Probes need no API key and no token.
  - name: health
    match: { path: /healthz, methods: [GET] }
    authenticate: [anonymous]
    token: none
  - name: everything-else
    match: { path: "/*rest" }
`;
}

function nextSteps(file: string): string {
  const isDefault = resolve(file) === resolve(DEFAULT_FILE);
  const flags = isDefault
    ? ""
    : ` -c ${/^[\w./@%+=:-]+$/.test(file) ? file : `'${file.replaceAll("'", "'\\''")}'`}`;
  const steps = [
    [`countersign serve${flags}`, "run it; Ctrl-C stops it"],
    ["curl http://127.0.0.1:8080/", "a request, which reaches the backend with a token"],
    [`countersign mint${flags} | countersign verify${flags} -`, "what the backend has to do with the token"],
    [`countersign doctor${flags}`, "while it runs: whether all is as it should be"],
  ] as const;
  const width = Math.max(...steps.map(([command]) => command.length));
  return [
    `${printableText(file)} is written. Next:`,
    ...steps.map(([command, what]) => `  ${command.padEnd(width)}   # ${what}`),
  ].join("\n");
}
