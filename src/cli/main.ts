import { Command, CommanderError } from "commander";
import { CountersignError } from "../errors.ts";
import { addApiKeyCommand } from "./api-key.ts";
import { addDemoCommand } from "./demo.ts";
import { addExplainCommand } from "./explain.ts";
import { addKeysCommand } from "./keys.ts";
import { addMintCommand } from "./mint.ts";
import { addPasswordCommand } from "./password.ts";
import { addSchemaCommand } from "./schema.ts";
import { addServeCommand } from "./serve.ts";
import { addTestCommand } from "./test.ts";
import { UsageError } from "./usage-error.ts";
import { addValidateCommand } from "./validate.ts";
import { addVerifyCommand } from "./verify.ts";
import { VERSION } from "./version.ts";

const DESCRIPTION =
  "A reverse proxy that stands in front of a backend which cannot authenticate its callers. It signs a short-lived JWT for every request, puts it in a header, and forwards the request; the backend verifies the token with the public keys that the same process serves.";

const EXAMPLES = `
Examples:
  $ countersign serve --upstream http://127.0.0.1:9000   protect a backend with the defaults
  $ countersign serve                                    the same, shaped by ./sidecar.yaml
  $ countersign validate                                 what is wrong with ./sidecar.yaml
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
    await createProgram().parseAsync(argv);
  } catch (error) {
    process.exitCode = exitCodeOf(error);
  }
}

function createProgram(): Command {
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
  const commands = [
    addServeCommand,
    addValidateCommand,
    addExplainCommand,
    addTestCommand,
    addMintCommand,
    addVerifyCommand,
    addKeysCommand,
    addApiKeyCommand,
    addPasswordCommand,
    addDemoCommand,
    addSchemaCommand,
  ];
  for (const add of commands) inheritManners(add(program));
  return program;
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

/** Prints what was thrown, without a stack trace unless it is a defect of Countersign itself. */
function exitCodeOf(error: unknown): number {
  // commander has printed its own message; --help and --version come this way too.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof UsageError) {
    console.error(`countersign: ${error.message}\n(--help shows how it is used)`);
    return 2;
  }
  if (error instanceof CountersignError) {
    console.error(error.code === "ERR_CONFIG" ? error.message : `countersign: ${error.message}`);
    return 1;
  }
  console.error("countersign: this is a defect in Countersign; please report it:", error);
  return 1;
}
