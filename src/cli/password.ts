import type { Command } from "commander";
import { normalized } from "../policy/authenticators/basic-credentials.ts";
import { hashPassword } from "../policy/authenticators/password-hash.ts";
import { readSecret } from "./secret-input.ts";

const HELP = `
The password is never an argument: those stand in the list of processes and in the shell's history. At a terminal it is
asked for, twice and without being shown; else standard input is the password, on one line.

Standard output is the hash alone; the lines for the configuration go to standard error.

Examples:
  $ countersign password hash
  $ countersign password hash < password.txt
  $ pass show ops | countersign password hash --json`;

/** `countersign password`: makes what is kept in place of a password. */
export function addPasswordCommand(program: Command): Command {
  const password = program
    .command("password")
    .summary("hash a password of a caller")
    .description("Makes what the configuration holds in place of a password.");
  password
    .command("hash")
    .summary("hash a password")
    .description(
      "Reads a password and prints its scrypt hash, for users[].passwordHash of an authenticator of type basic.",
    )
    .option("--json", "print the hash as JSON, and nothing else")
    .addHelpText("after", HELP)
    .action(async ({ json }: { readonly json?: true }) => {
      const passwordHash = await hashPassword(
        normalized(await readSecret({ what: "password", twice: true })),
      );
      if (json) return console.log(JSON.stringify({ passwordHash }, undefined, 2));
      console.log(passwordHash);
      // In quotes, as its commas would end it in a map in braces.
      console.error(
        `# under authenticators.….users, with the user's name:\n- username: NAME\n  passwordHash: "${passwordHash}"`,
      );
    });
  return password;
}
