import { Command } from "commander";
import { VERSION } from "../version.ts";
import { printFailure } from "./failure.ts";

const DESCRIPTION =
  "A reverse proxy that stands in front of a backend which cannot authenticate its callers. It signs a short-lived JWT for every request, puts it in a header, and forwards the request; the backend verifies the token with the public keys that the same process serves.";

const EXAMPLES = `
Examples:
  $ countersign serve --upstream http://127.0.0.1:9000   protect a backend with the defaults
  $ countersign init                                     write a first ./sidecar.yaml
  $ countersign serve                                    the same, shaped by ./sidecar.yaml
  $ countersign validate                                 what is wrong with ./sidecar.yaml
  $ countersign explain GET /orders/42                   what would become of this request
  $ countersign doctor                                   what is wrong with the sidecar that runs
  $ countersign demo                                     see it work, with a backend that verifies`;

/**
 * Runs one command line and sets the exit code: 0 fine, 1 a problem was found, 2 wrong usage.
 *
 * @param argv as `process.argv`
 */
export async function main(argv: readonly string[]): Promise<void> {
  // A reader that has seen enough, such as head, is no error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit();
    throw error;
  });
  try {
    const program = await createProgram(argv[2]);
    await program.parseAsync(argv);
  } catch (error) {
    process.exitCode = printFailure(error);
  }
}

/** What adds each command, in the order of the help. A module is loaded where its command is needed: most need few others. */
const COMMANDS: Readonly<Record<string, () => Promise<(program: Command) => Command>>> = {
  init: async () => (await import("./init.ts")).addInitCommand,
  serve: async () => (await import("./serve.ts")).addServeCommand,
  validate: async () => (await import("./validate.ts")).addValidateCommand,
  explain: async () => (await import("./explain.ts")).addExplainCommand,
  test: async () => (await import("./test.ts")).addTestCommand,
  mint: async () => (await import("./mint.ts")).addMintCommand,
  verify: async () => (await import("./verify.ts")).addVerifyCommand,
  keys: async () => (await import("./keys.ts")).addKeysCommand,
  issuer: async () => (await import("./issuer.ts")).addIssuerCommand,
  "api-key": async () => (await import("./api-key.ts")).addApiKeyCommand,
  password: async () => (await import("./password.ts")).addPasswordCommand,
  doctor: async () => (await import("./doctor.ts")).addDoctorCommand,
  health: async () => (await import("./health.ts")).addHealthCommand,
  reload: async () => (await import("./reload.ts")).addReloadCommand,
  demo: async () => (await import("./demo.ts")).addDemoCommand,
  schema: async () => (await import("./schema.ts")).addSchemaCommand,
};

/**
 * Creates the program with the one command that is named, or with all of them: its help lists them, and a wrong name is told
 * of the nearest.
 */
async function createProgram(name = ""): Promise<Command> {
  const program = new Command("countersign")
    .description(DESCRIPTION)
    .version(VERSION, "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand("help [command]", "print the help of a command")
    .addHelpText("after", EXAMPLES)
    // The names alone: what a command takes is in its own help.
    .configureHelp({ subcommandTerm: (command) => command.name() })
    .showHelpAfterError("(--help shows how it is used)")
    .configureOutput(OUTPUT)
    .exitOverride();
  for (const load of commandsFor(name)) inheritManners((await load())(program));
  return program;
}

function commandsFor(name: string) {
  if (["-V", "--version"].includes(name)) return [];
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  return load ? [load] : Object.values(COMMANDS);
}

/** What commander does not hand down to a command from the one above it. */
function inheritManners(command: Command): void {
  command
    .exitOverride()
    .configureOutput(OUTPUT)
    .showHelpAfterError("(--help shows how it is used)")
    .helpOption("-h, --help", "print this help");
  command.commands.forEach(inheritManners);
}

/** What commander says of a wrong command line, said as the rest of Countersign says it. */
const OUTPUT = {
  outputError: (text: string, write: (text: string) => void) =>
    write(text.replace(/^error: /, "countersign: ")),
};
