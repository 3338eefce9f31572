/** What an operator does to the keys on a token, beside a sidecar that may be using them. */

import type { KeyObject } from "node:crypto";
import { misfitOf, type SigningAlgorithm } from "../../algorithms.ts";
import { KeyError } from "../key-error.ts";
import { listedAlgorithmOf } from "../listed-keys.ts";
import type { KeyNeed } from "../ring.ts";
import { keyFactsOf } from "../signing-key.ts";
import type { TokenConnection } from "./token-connection.ts";
import { publicKeyOf } from "./token-keys.ts";

/** A key pair that was made on a token. */
export interface MadeKey {
  readonly label: string;
  readonly algorithm: SigningAlgorithm;
  readonly kid: string;
}

/** What the list of labels has to be, one step after another, so that a new key signs and no token is refused. */
export interface RotationSteps {
  /** Everybody learns the new keys. */
  readonly published: readonly string[];
  /** They sign. */
  readonly signing: readonly string[];
  /** The old ones are gone. */
  readonly alone: readonly string[];
}

interface ListedKey {
  readonly label: string;
  readonly publicKey: KeyObject;
}

/**
 * Makes the keys of a list that the token lacks: for each need that has none, then for the first need.
 *
 * @param algorithm what all of them are for. Default: what is needed
 * @throws {KeyError} ERR_KEY when the token refuses
 */
export async function generateTokenKeys(
  connection: TokenConnection,
  labels: readonly string[],
  needs: readonly KeyNeed[],
  algorithm?: SigningAlgorithm,
): Promise<readonly MadeKey[]> {
  const found = await listedKeysOf(connection, labels);
  const known = [...algorithmsOf(found, needs).values()];
  const made: MadeKey[] = [];
  for (const label of labels.filter((one) => found.every((key) => key.label !== one))) {
    const lacking = needs.find((need) => !known.includes(need.algorithm)) ?? needs[0];
    const chosen = algorithm ?? lacking?.algorithm ?? "EdDSA";
    known.push(chosen);
    made.push(await makeKey(connection, label, chosen));
  }
  return made;
}

/**
 * Makes a successor of the key that signs with each algorithm, and says how the list of labels has to change for it.
 *
 * @throws {KeyError} ERR_KEY when a key of the list is missing, or the token refuses
 */
export async function rotateTokenKeys(
  connection: TokenConnection,
  labels: readonly string[],
  needs: readonly KeyNeed[],
  algorithms: readonly SigningAlgorithm[],
): Promise<{ readonly made: readonly MadeKey[]; readonly steps: RotationSteps }> {
  const listed = await listedKeysOf(connection, labels);
  const missing = labels.filter((label) => listed.every((key) => key.label !== label));
  if (missing.length > 0)
    throw new KeyError(
      connection.name,
      `there is no private key with the label ${missing.join(", ")}; make it: countersign keys generate`,
    );
  const used = new Set([...labels, ...(await connection.list())]);
  const uses = algorithmsOf(listed, needs);
  const successors = algorithms.map((algorithm) => {
    const old = listed.find(({ label }) => uses.get(label) === algorithm);
    if (!old)
      throw new KeyError(
        connection.name,
        `there is no ${algorithm} key to replace; add a label to the list, and make it: countersign keys generate`,
      );
    const label = nextLabel(old.label, used);
    used.add(label);
    return { label, algorithm, old };
  });
  const steps = stepsOf(listed, successors);
  checkSteps(connection.name, steps, listed, successors, needs);
  const made: MadeKey[] = [];
  for (const { label, algorithm } of successors) made.push(await makeKey(connection, label, algorithm));
  return { made, steps };
}

interface Successor {
  readonly label: string;
  readonly algorithm: SigningAlgorithm;
  readonly old: ListedKey;
}

function stepsOf(listed: readonly ListedKey[], successors: readonly Successor[]): RotationSteps {
  const labels = listed.map(({ label }) => label);
  const added = successors.map(({ label }) => label);
  const successorOf = (label: string) => successors.find(({ old }) => old.label === label)?.label;
  // A successor takes the place of the old key: what the others are for may depend on their order.
  const alone = labels.map((label) => successorOf(label) ?? label);
  const replaced = labels.filter((label) => successorOf(label) !== undefined);
  return { published: [...labels, ...added], signing: [...alone, ...replaced], alone };
}

/** A key whose algorithm would change with its place in the list would be refused by verifiers that have seen the other one. */
function checkSteps(
  token: string,
  { published, signing, alone }: RotationSteps,
  listed: readonly ListedKey[],
  successors: readonly Successor[],
  needs: readonly KeyNeed[],
): void {
  // A successor is of the same kind as the key before it.
  const all = [...listed, ...successors.map(({ label, old }) => ({ label, publicKey: old.publicKey }))];
  const usesOf = (labels: readonly string[]) =>
    algorithmsOf(
      labels.flatMap((label) => all.find((key) => key.label === label) ?? []),
      needs,
    );
  const wanted = new Map([
    ...algorithmsOf(listed, needs),
    ...successors.map(({ label, algorithm }) => [label, algorithm] as const),
  ]);
  for (const uses of [published, signing, alone].map(usesOf))
    for (const [label, algorithm] of uses)
      if (wanted.get(label) !== algorithm)
        throw new KeyError(
          token,
          `key ${label} would change from ${wanted.get(label)} to ${algorithm}, and verifiers would refuse its tokens: rotate all RSA algorithms at once, with none of their older keys in the list`,
        );
}

async function listedKeysOf(
  connection: TokenConnection,
  labels: readonly string[],
): Promise<readonly ListedKey[]> {
  const found = await connection.find(labels);
  return found.map((key) => ({ label: key.label, publicKey: publicKeyOf(key) }));
}

/** What each key is for, by its label. */
function algorithmsOf(
  listed: readonly ListedKey[],
  needs: readonly KeyNeed[],
): ReadonlyMap<string, SigningAlgorithm> {
  const uses = new Map<string, SigningAlgorithm>();
  for (const { label, publicKey } of listed) {
    const before = [...uses.values()].map((algorithm) => ({ algorithm }));
    const algorithm = listedAlgorithmOf(publicKey, needs, before);
    // What fits nothing is told of where it is used.
    if (misfitOf(publicKey, algorithm) === undefined) uses.set(label, algorithm);
  }
  return uses;
}

async function makeKey(
  connection: TokenConnection,
  label: string,
  algorithm: SigningAlgorithm,
): Promise<MadeKey> {
  await connection.generate(label, algorithm);
  const [key] = await connection.find([label]);
  if (!key) throw new KeyError(connection.name, `key ${label} was made, and is not there`);
  return { label, algorithm, kid: (await keyFactsOf(publicKeyOf(key), algorithm)).kid };
}

/** The label that follows: with the next number at its end that is not used. */
export function nextLabel(label: string, used: ReadonlySet<string>): string {
  const [, stem = label, digits] = /^(.*?)(\d{1,9})$/.exec(label) ?? [];
  const name = digits === undefined ? `${label}-` : stem;
  let number = digits === undefined ? 2 : Number(digits) + 1;
  while (used.has(`${name}${number}`)) number++;
  return `${name}${number}`;
}
