import { hash } from "node:crypto";
import { type Command, Option } from "commander";
import { stringify } from "yaml";
import { instant } from "../config/authenticators/values.ts";
import { parseDuration } from "../duration.ts";
import type { Claims } from "../issuer/claims-set.ts";
import {
  createApiKey,
  DEFAULT_PREFIX,
  isMistyped,
  PREFIX_SHAPE,
} from "../policy/authenticators/api-key-text.ts";
import { claimsOf } from "./claims.ts";
import { readSecret } from "./secret-input.ts";
import { UsageError } from "./usage-error.ts";

interface EntryFlags {
  readonly claim?: string[];
  readonly expires?: string;
  readonly json?: true;
}

/** What stands under `keys` of an authenticator of type apiKey, and in its keysFile. */
interface Entry {
  readonly subject: string;
  readonly sha256: string;
  readonly claims?: Claims;
  readonly expires?: string;
}

const CREATE_HELP = `
Standard output is the key alone: give it to whoever calls. It is shown this once and stored nowhere. The entry with its
hash, for keys of an authenticator of type apiKey or for its keysFile, goes to standard error.

Examples:
  $ countersign api-key create acme --claim plan=gold --expires 90d
  $ countersign api-key create acme > key.txt
  $ countersign api-key create acme --json | jq .entry`;

const HASH_HELP = `
The key is never an argument: those stand in the list of processes and in the shell's history. At a terminal it is asked
for without being shown; else standard input is the key, on one line.

Standard output is the SHA-256 alone; the entry for keys of an authenticator of type apiKey goes to standard error.

Examples:
  $ countersign api-key hash acme < key.txt
  $ printenv SHARED_SECRET | countersign api-key hash acme`;

/** `countersign api-key`: makes keys for callers, and what is kept in place of them. */
export function addApiKeyCommand(program: Command): Command {
  const apiKey = program
    .command("api-key")
    .summary("make API keys for callers, and hash them")
    .description("Makes keys for callers. The configuration holds their hashes alone.");
  addCreate(apiKey);
  addHash(apiKey);
  return apiKey;
}

function addCreate(apiKey: Command): void {
  withEntryOptions(apiKey.command("create"))
    .summary("make a new key")
    .description("Makes a key of 256 random bits and prints it once, with the entry for the configuration.")
    .addOption(
      new Option(
        "--prefix <prefix>",
        "what the key begins with, for scanners that look for leaked keys",
      ).default(DEFAULT_PREFIX),
    )
    .option("--json", "print the key and its entry as JSON")
    .addHelpText("after", CREATE_HELP)
    .action((subject: string, flags: EntryFlags & { readonly prefix: string }) => {
      if (!PREFIX_SHAPE.test(flags.prefix))
        throw new UsageError("--prefix: expected a letter, then at most 15 letters and digits");
      const settings = settingsOf(subject, flags);
      const key = createApiKey(flags.prefix);
      const entry = entryOf(settings, key);
      if (flags.json) return console.log(JSON.stringify({ key, entry }, undefined, 2));
      console.log(key);
      printEntry(entry);
    });
}

function addHash(apiKey: Command): void {
  withEntryOptions(apiKey.command("hash"))
    .summary("hash a key that there is already")
    .description(
      "Reads a key that a caller has already, such as a shared secret, and prints its SHA-256, with the entry for the configuration.",
    )
    .option("--json", "print the entry as JSON, and nothing else")
    .addHelpText("after", HASH_HELP)
    .action(async (subject: string, flags: EntryFlags) => {
      const settings = settingsOf(subject, flags);
      const key = await readSecret({ what: "API key" });
      checkKey(key);
      const entry = entryOf(settings, key);
      if (flags.json) return console.log(JSON.stringify(entry, undefined, 2));
      console.log(entry.sha256);
      printEntry(entry);
    });
}

function withEntryOptions(command: Command): Command {
  return command
    .argument("<subject>", "who has the key: the sub of its requests")
    .option("--claim <name=value...>", "what else is known of them; a value that is JSON is taken as such")
    .option(
      "--expires <time>",
      "from when on the key is refused: such as 90d from now, 2027-01-31, or 2027-01-31T12:00:00Z",
    );
}

type Settings = Omit<Entry, "sha256">;

function settingsOf(subject: string, { claim = [], expires }: EntryFlags): Settings {
  if (subject === "") throw new UsageError("the subject is empty");
  const claims = claimsOf(claim, { sub: "it is the subject" });
  return {
    subject,
    ...(Object.keys(claims).length > 0 ? { claims } : {}),
    ...(expires === undefined ? {} : { expires: expiryOf(expires, Date.now()) }),
  };
}

/** The time as the configuration takes it. */
function expiryOf(text: string, now: number): string {
  const seconds = parseDuration(text);
  if (seconds !== undefined) return new Date(now + seconds * 1000).toISOString().replace(/\.\d+Z$/, "Z");
  const time = instant.safeParse(text);
  if (!time.success)
    throw new UsageError('--expires: expected a duration such as "90d", or a time such as "2027-01-31"');
  if (time.data <= now) throw new UsageError("--expires: this time has passed");
  return text;
}

/** Refuses what no request could bring as it is, and says what is doubtful. */
function checkKey(key: string): void {
  if (!/^[\x21-\x7e]+(?: +[\x21-\x7e]+)*$/.test(key))
    throw new UsageError("expected visible ASCII characters: a header does not carry others as they are");
  if (isMistyped(key)) throw new UsageError("the API key is mistyped: its checksum is wrong");
  // SHA-256 is fast: only what cannot be guessed is safe behind it.
  if (key.length < 20)
    console.error(
      "# warning: this key is short, and can be guessed by whoever gets its hash; countersign api-key create makes a better one",
    );
}

function entryOf({ subject, ...others }: Settings, key: string): Entry {
  return { subject, sha256: hash("sha256", key), ...others };
}

function printEntry(entry: Entry): void {
  console.error(
    `# under authenticators.….keys, or under keys in its keysFile:\n${stringify([entry], { lineWidth: 0 }).trimEnd()}`,
  );
}
