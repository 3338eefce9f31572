import { Command } from "commander";
import { VERSION } from "../version.ts";
import { addApiKeyCommand } from "./api-key.ts";
import { addDemoCommand } from "./demo.ts";
import { addDoctorCommand } from "./doctor.ts";
import { addExplainCommand } from "./explain.ts";
import { printFailure } from "./failure.ts";
import { addHealthCommand } from "./health.ts";
import { addInitCommand } from "./init.ts";
import { addKeysCommand } from "./keys.ts";
import { addMintCommand } from "./mint.ts";
import { addPasswordCommand } from "./password.ts";
import { addReloadCommand } from "./reload.ts";
import { addSchemaCommand } from "./schema.ts";
import { addServeCommand } from "./serve.ts";
import { addTestCommand } from "./test.ts";
import { addValidateCommand } from "./validate.ts";
import { addVerifyCommand } from "./verify.ts";

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
    await createProgram().parseAsync(argv);
  } catch (error) {
    process.exitCode = printFailure(error);
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
    addInitCommand,
    addServeCommand,
    addValidateCommand,
    addExplainCommand,
    addTestCommand,
    addMintCommand,
    addVerifyCommand,
    addKeysCommand,
    addApiKeyCommand,
    addPasswordCommand,
    addDoctorCommand,
    addHealthCommand,
    addReloadCommand,
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
