import type { Config } from "../config/config.ts";
import { keyNeedsOf } from "../config/key-needs.ts";
import { KeyError } from "../issuer/keys/key-error.ts";
import type { KeySource } from "../issuer/keys/key-source.ts";
import {
  generateTokenKeys,
  type MadeKey,
  type RotationSteps,
  rotateTokenKeys,
} from "../issuer/keys/pkcs11/manage-token.ts";
import type { TokenConnection } from "../issuer/keys/pkcs11/token-connection.ts";
import { connect } from "../issuer/keys/pkcs11/token-keys.ts";
import { formatPeriod } from "./key-table.ts";
import { chosenNeeds, type LineFlags } from "./managed-ring.ts";

/** Keys on a token. */
export type Pkcs11Source = Extract<KeySource, { kind: "pkcs11" }>;

/** What verifiers allow for the difference of clocks. */
const RETIREMENT_MARGIN_SECONDS = 5 * 60;

/**
 * Makes the keys of the list that the token lacks, and says which.
 *
 * @throws {KeyError} ERR_KEY when the token cannot be used
 */
export async function generateOnToken(
  config: Config,
  source: Pkcs11Source,
  { algorithm }: LineFlags,
): Promise<void> {
  const made = await withToken(source, (connection) =>
    generateTokenKeys(connection, source.listed.labels, keyNeedsOf(config), algorithm),
  );
  if (made.length === 0) console.log("every key of the list is on the token");
  for (const key of made) console.log(describeMade(key));
}

/**
 * Makes successors on the token, and says what to do with them.
 *
 * @throws {KeyError} ERR_KEY when the token cannot be used
 */
export async function rotateOnToken(
  config: Config,
  source: Pkcs11Source,
  flags: LineFlags & { readonly emergency?: true },
): Promise<void> {
  if (flags.emergency)
    throw new KeyError(
      "issuer.keys.pkcs11",
      "which keys sign is said by issuer.keys.pkcs11.keys. Make a key: countersign keys rotate. Then leave its label alone in the list, which withdraws the others at once",
    );
  const needs = keyNeedsOf(config);
  const algorithms = [...new Set(chosenNeeds(config, flags).map(({ algorithm }) => algorithm))];
  const { made, steps } = await withToken(source, (connection) =>
    rotateTokenKeys(connection, source.listed.labels, needs, algorithms),
  );
  for (const key of made) console.log(describeMade(key));
  const longest = Math.max(...needs.map(({ longestLifetimeSeconds }) => longestLifetimeSeconds));
  console.log(describeSteps(steps, source.listed.jwksMaxAgeSeconds, longest + RETIREMENT_MARGIN_SECONDS));
}

async function withToken<T>(
  source: Pkcs11Source,
  use: (connection: TokenConnection) => Promise<T>,
): Promise<T> {
  const connection = connect(source);
  try {
    return await use(connection);
  } finally {
    await connection.close();
  }
}

function describeMade({ algorithm, kid, label }: MadeKey): string {
  return `${algorithm} key ${kid} is made on the token, with the label ${label}`;
}

function describeSteps(
  { published, signing, alone }: RotationSteps,
  publishedSeconds: number,
  retiringSeconds: number,
): string {
  return `Nothing uses it before you change issuer.keys.pkcs11.keys, three times; each save takes effect without a restart:
  1. now, so that it is published:
       keys: ${listOf(published)}
  2. ${formatPeriod(publishedSeconds)} later (issuer.jwksMaxAge) or more, when every verifier knows it, so that it signs:
       keys: ${listOf(signing)}
  3. ${formatPeriod(retiringSeconds)} after that (the longest token, and 5 minutes) or more, when no token of the old key is left:
       keys: ${listOf(alone)}`;
}

/** As YAML has it. */
function listOf(labels: readonly string[]): string {
  const quoted = labels.map((label) =>
    /^[A-Za-z][\w.-]*$/.test(label) && !/^(?:true|false|null|yes|no|on|off|y|n)$/i.test(label)
      ? label
      : JSON.stringify(label),
  );
  return `[${quoted.join(", ")}]`;
}
