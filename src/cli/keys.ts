import { rm, stat, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import type { Config } from "../config/config.ts";
import { keyNeedsOf } from "../config/key-needs.ts";
import { reasonOf } from "../errors.ts";
import { misfitOf, type SigningAlgorithm } from "../issuer/algorithms.ts";
import { createDirectoryStore } from "../issuer/keys/directory-store.ts";
import { KeyError } from "../issuer/keys/key-error.ts";
import { MOUNTED_FILE, readKeyFile } from "../issuer/keys/key-file.ts";
import {
  generateKeys,
  importKey,
  importRing,
  type RingChange,
  replaceKeys,
  retireKey,
  rotateKeys,
} from "../issuer/keys/manage.ts";
import { newKey } from "../issuer/keys/managed-keys.ts";
import { formatPrivateKey, type ParsedPrivateKey, parsePrivateKey } from "../issuer/keys/private-key.ts";
import {
  isSameLine,
  type KeyNeed,
  lineOf,
  type RingKey,
  signingKeyOf,
  stateOf,
} from "../issuer/keys/ring.ts";
import { createSigningKey } from "../issuer/keys/signing-key.ts";
import { algorithmOption, type ConfigurationFlags, configOption } from "./configuration.ts";
import { formatPeriod, tableOf } from "./key-table.ts";
import { readLiveKeys } from "./live-keys.ts";
import { chosenNeeds, type LineFlags, needOf, type OpenRing, readConfig, withRing } from "./managed-ring.ts";
import { generateOnToken, rotateOnToken } from "./token-keys.ts";
import { UsageError } from "./usage-error.ts";

/** `countersign keys`: looks after the signing keys. */
export function addKeysCommand(program: Command): Command {
  const keys = program
    .command("keys")
    .summary("make, list, rotate, retire and import signing keys")
    .description(
      "Looks after the keys of issuer.keys.directory and issuer.keys.redis. A running sidecar sees the change within a minute. list also shows keys that are kept elsewhere, and generate and rotate make keys on a PKCS#11 token.",
    );
  addList(keys);
  addGenerate(keys);
  addRotate(keys);
  addRetire(keys);
  addImport(keys);
  return keys;
}

function identityOption(): Option {
  return new Option("--identity", "the key for the tokens of identity, not for those of requests");
}

function passphraseOption(description: string): Option {
  return new Option("--passphrase-env <name>", `the environment variable with ${description}`);
}

function addList(keys: Command): void {
  keys
    .command("list")
    .summary("list the keys")
    .description("Lists the keys with state, age and what comes next.")
    .addOption(configOption())
    .option("--json", "print them as JSON, with the times")
    .action(async (flags: ConfigurationFlags & { readonly json?: true }) => {
      const config = await readConfig(flags);
      await using live = await readLiveKeys(config, Date.now());
      const { rows } = live;
      console.log(flags.json ? JSON.stringify(rows, undefined, 2) : tableOf(rows));
    });
}

function addGenerate(keys: Command): void {
  keys
    .command("generate")
    .summary("make the keys that are lacking")
    .description(
      "Makes the keys that the configuration needs and the directory lacks, as the first start would; on a PKCS#11 token, the keys of the list that it lacks. With --algorithm it makes one that the configuration does not need yet: published for a day before a policy names the algorithm, it is known to every verifier. With --output it writes a private key to a file of your own.",
    )
    .addOption(configOption())
    .addOption(algorithmOption("the algorithm of the key (default: those of the configuration)"))
    .option("--output <file>", "write the private key in PEM to this new file, and leave the directory alone")
    .addOption(passphraseOption("a passphrase, to encrypt what --output writes"))
    .action(async (flags: LineFlags & { readonly output?: string; readonly passphraseEnv?: string }) => {
      if (flags.output !== undefined) return writeKey(flags.output, flags.algorithm, flags.passphraseEnv);
      if (flags.passphraseEnv !== undefined)
        throw new UsageError(
          "--passphrase-env: only with --output; the directory has issuer.keys.passphrase",
        );
      const config = await readConfig(flags);
      const source = config.issuer.keys;
      if (source.kind === "pkcs11") return generateOnToken(config, source, flags);
      return withRing(config, async ({ store, now }) => {
        const needs =
          flags.algorithm === undefined ? keyNeedsOf(config) : [needOf(config, flags.algorithm, false)];
        const made = addedBy(await generateKeys(store, needs, now));
        if (made.length === 0) console.log("every key that is needed is there");
        for (const entry of made) console.log(describeNew(entry, keyNeedsOf(config)));
      });
    });
}

function describeNew(entry: RingKey, needs: readonly KeyNeed[]): string {
  const { algorithm, kid } = entry.key;
  const isNeeded = needs.some((need) => isSameLine(need, lineOf(entry)));
  return `${algorithm} key ${kid} is made, and ${isNeeded ? "signs from now on" : "published for a configuration to come"}`;
}

async function writeKey(
  file: string,
  algorithm: SigningAlgorithm = "EdDSA",
  variable?: string,
): Promise<void> {
  const key = await newKey(algorithm);
  const pem = formatPrivateKey(key.privateKey, passphraseIn(variable));
  try {
    await writeFile(file, pem, { flag: "wx", mode: 0o600, flush: true });
  } catch (error) {
    const exists = (error as NodeJS.ErrnoException).code === "EEXIST";
    // Half a key is none.
    if (!exists) await rm(file, { force: true }).catch(() => {});
    throw new KeyError(
      file,
      exists
        ? "this file exists, and a key is never overwritten"
        : `it cannot be written: ${reasonOf(error)}`,
    );
  }
  console.log(`${algorithm} key ${key.kid} is in ${file}`);
}

function addRotate(keys: Command): void {
  keys
    .command("rotate")
    .summary("replace the keys that sign")
    .description(
      "Makes a successor of each key that signs. It is published first and signs after issuer.keys.overlap, so that no token is refused. On a PKCS#11 token the successor is made, and what to change in the list is printed. With --emergency, for a key that others may know, the successor signs at once and the old keys are withdrawn: tokens are refused until verifiers have fetched the JWK Set again.",
    )
    .addOption(configOption())
    .addOption(algorithmOption("rotate this algorithm alone (default: each that the configuration needs)"))
    .addOption(identityOption())
    .option("--emergency", "withdraw the keys, at once")
    .action(async (flags: LineFlags & { readonly emergency?: true }) => {
      const config = await readConfig(flags);
      const source = config.issuer.keys;
      if (source.kind === "pkcs11") return rotateOnToken(config, source, flags);
      return withRing(config, async (ring) => {
        const needs = chosenNeeds(config, flags);
        if (flags.emergency) return rotateAtOnce(ring, needs);
        const change = await rotateKeys(ring.store, needs, ring.now);
        for (const entry of addedBy(change)) console.log(describeSuccessor(change, entry, ring));
      });
    });
}

async function rotateAtOnce({ store, config, now }: OpenRing, needs: readonly KeyNeed[]): Promise<void> {
  const { before, after } = await replaceKeys(store, needs, now);
  for (const kid of after.withdrawn.filter((one) => !before.withdrawn.includes(one)))
    console.log(
      `key ${kid} is withdrawn: what it signed is refused wherever the JWK Set is fetched from now on`,
    );
  for (const { key } of addedBy({ before, after }))
    console.log(`${key.algorithm} key ${key.kid} signs from now on`);
  console.error(
    `A running sidecar follows at once, or within a minute where it cannot be told. A verifier accepts the new tokens as soon as it
fetches the JWK Set again: at the first unknown kid where it is well behaved, else after at most ${formatPeriod(config.issuer.jwksMaxAgeSeconds)} (jwksMaxAge)
or what it is configured for. Restart verifiers that must not accept the old keys for that long. Find out how the key got
out before you rely on the new one: it lies in the same place.`,
  );
}

function describeSuccessor(
  { after }: RingChange,
  successor: RingKey,
  { pendingSeconds, now }: OpenRing,
): string {
  const { key, activatesAt } = successor;
  if (activatesAt !== undefined) return `${key.algorithm} key ${key.kid} is made, and signs from now on`;
  const before = signingKeyOf(after, lineOf(successor), now);
  return `${key.algorithm} key ${key.kid} is made. It signs ${formatPeriod(pendingSeconds)} after a sidecar has published it; until then key ${before?.key.kid} goes on`;
}

function addRetire(keys: Command): void {
  keys
    .command("retire")
    .summary("take a key out of use")
    .description(
      "Takes a key out of use: a pending one never signs; one that the configuration does not need signs no more, and is published until its longest token has ended. A key that signs is replaced with keys rotate instead.",
    )
    .argument(
      "<kid>",
      "the kid, or as much of its beginning as is clear (after -- where it begins with a hyphen)",
    )
    .addOption(configOption())
    .option("--now", "do not wait for the tokens that it signed: they are refused")
    .action(async (kid: string, flags: ConfigurationFlags & { readonly now?: true }) => {
      if (kid === "") throw new UsageError("expected a kid");
      const config = await readConfig(flags);
      return withRing(config, async ({ store, now }) => {
        const options = { kid, needs: keyNeedsOf(config), now, atOnce: flags.now ?? false };
        const { before, after } = await retireKey(store, options);
        for (const entry of before.keys) {
          const left = after.keys.find(({ key }) => key.kid === entry.key.kid);
          const name = `${entry.key.algorithm} key ${entry.key.kid}`;
          const wasPending = stateOf(before, entry, now) === "pending";
          if (!left) console.log(`${name} is taken out`);
          else if (left.retiresAt !== undefined && left.retiresAt !== entry.retiresAt)
            console.log(
              `${name} ${wasPending ? "will not sign" : "signs no more"}, and is published until its longest token would have ended`,
            );
        }
      });
    });
}

function addImport(keys: Command): void {
  keys
    .command("import")
    .summary("put keys of your own into the ring")
    .description(
      "Reads a private key in PEM or as a JWK and puts it into the ring: as the successor of the key that signs, or where there is none to sign at once, which keeps the tokens of the issuer that had it before valid. Of a key directory it takes every key, with its times: so an issuer moves to Redis, and nobody notices.",
    )
    .argument("<file>", "the private key, or a key directory")
    .addOption(configOption())
    .addOption(
      algorithmOption("what it is for (default: what the JWK says, else the first configured that fits)"),
    )
    .addOption(identityOption())
    .addOption(passphraseOption("the passphrase of an encrypted PEM or key directory"))
    .action(async (file: string, flags: ImportFlags) =>
      withRing(await readConfig(flags), async (ring) => {
        const isDirectory = (await stat(file).catch(() => undefined))?.isDirectory() ?? false;
        return isDirectory ? importDirectory(ring, file, flags) : importFile(ring, file, flags);
      }),
    );
}

type ImportFlags = LineFlags & { readonly passphraseEnv?: string };

async function importFile(ring: OpenRing, file: string, flags: ImportFlags): Promise<void> {
  const { store, config, now } = ring;
  const text = await readKeyFile(file, MOUNTED_FILE);
  const parsed = parsePrivateKey(text, file, passphraseIn(flags.passphraseEnv));
  if (flags.algorithm !== undefined && (parsed.algorithm ?? flags.algorithm) !== flags.algorithm)
    throw new UsageError(`--algorithm: the JWK says that it is for ${parsed.algorithm}`);
  const algorithm = flags.algorithm ?? algorithmFor(config, parsed, flags);
  const need = needOf(config, algorithm, flags.identity ?? false);
  const key = await createSigningKey(parsed.privateKey, need.algorithm, file);
  const change = await importKey(store, need, key, now);
  for (const entry of addedBy(change)) console.log(describeSuccessor(change, entry, ring));
}

async function importDirectory(
  { store, now }: OpenRing,
  directory: string,
  flags: ImportFlags,
): Promise<void> {
  if (flags.algorithm !== undefined || flags.identity)
    throw new UsageError("--algorithm and --identity: only for one key; the directory says what each is for");
  const from = createDirectoryStore(resolve(directory), passphraseIn(flags.passphraseEnv));
  const { ring: imported } = await from.load();
  if (imported.keys.length === 0) throw new KeyError(directory, "there is no key ring in this directory");
  const { after } = await importRing(store, imported);
  for (const entry of after.keys.filter(({ key }) => imported.keys.some((one) => one.key.kid === key.kid)))
    console.log(
      `${entry.key.algorithm} key ${entry.key.kid} is in ${store.name}, ${stateOf(after, entry, now)} as before`,
    );
}

/** What a JWK says; else the first that is configured and that the key fits; else the first, which says why it does not. */
function algorithmFor(
  config: Config,
  { algorithm, privateKey }: ParsedPrivateKey,
  { identity }: LineFlags,
): SigningAlgorithm {
  const purpose = identity ? "identity" : "token";
  const configured = keyNeedsOf(config)
    .filter((need) => need.purpose === purpose)
    .map((need) => need.algorithm);
  const fitting = configured.find((candidate) => misfitOf(privateKey, candidate) === undefined);
  return algorithm ?? fitting ?? configured[0] ?? config.issuer.algorithm;
}

function passphraseIn(variable: string | undefined): string | undefined {
  if (variable === undefined) return undefined;
  const passphrase = process.env[variable];
  if (passphrase) return passphrase;
  throw new UsageError(
    `--passphrase-env: the environment variable ${variable} is ${passphrase === "" ? "empty" : "not set"}`,
  );
}

function addedBy({ before, after }: RingChange): RingKey[] {
  return after.keys.filter(({ key }) => before.keys.every((entry) => entry.key.kid !== key.kid));
}
