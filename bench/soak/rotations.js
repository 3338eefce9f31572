import { once } from "node:events";
import { commandOf } from "../countersign.js";
import { start } from "../processes.js";
import { ALGORITHMS, TOKEN_SECONDS } from "./configuration.js";
import { pause } from "./pause.js";

const LOOK_EVERY_MILLISECONDS = 500;
/** Not both algorithms at once. */
const STAGGER_MILLISECONDS = 15_000;
/** How long after its last signature a key is taken out: its tokens have ended. */
const TAKEN_OUT_AFTER_MILLISECONDS = (TOKEN_SECONDS + 5) * 1000;

/**
 * Gives the keys that sign successors, one as soon as the last one has begun to sign, which takes a minute; and takes those out
 * whose tokens have ended. The sidecar itself would keep them for two hours more, in case its clock was wrong.
 */
export class Rotations {
  #folder;
  #scrapes;
  #tally;
  #mark;
  #activeKids = new Map();
  /** Algorithms whose next key does not sign yet. */
  #underWay = new Set();
  #retiringSince = new Map();
  counts = { begun: 0, signing: 0, takenOut: 0 };

  /** @param folder of a configuration for commands; `mark` is called with the kind of each change when it is seen */
  constructor({ folder, scrapes, tally, mark }) {
    this.#folder = folder;
    this.#scrapes = scrapes;
    this.#tally = tally;
    this.#mark = mark;
  }

  async run(signal) {
    const beganAt = performance.now();
    while (!signal.aborted) {
      const keys = keysOf(this.#scrapes.last);
      this.#noteSigning(keys);
      for (const [index, algorithm] of ALGORITHMS.entries()) {
        if (performance.now() - beganAt < index * STAGGER_MILLISECONDS) continue;
        if (!this.#underWay.has(algorithm)) await this.#rotate(algorithm);
      }
      for (const { kid } of keys.filter(({ state }) => state === "retiring")) await this.#takeOut(kid);
      await pause(LOOK_EVERY_MILLISECONDS, signal);
    }
  }

  #noteSigning(keys) {
    for (const { algorithm, kid } of keys.filter(({ state }) => state === "active")) {
      const before = this.#activeKids.get(algorithm);
      if (before === kid) continue;
      this.#activeKids.set(algorithm, kid);
      if (before === undefined) continue;
      this.#underWay.delete(algorithm);
      this.counts.signing++;
      this.#mark("key");
    }
  }

  async #rotate(algorithm) {
    this.#underWay.add(algorithm);
    if (await this.#command("rotate", "--algorithm", algorithm)) this.counts.begun++;
  }

  async #takeOut(kid) {
    const since = this.#retiringSince.get(kid) ?? performance.now();
    this.#retiringSince.set(kid, since);
    if (performance.now() - since < TAKEN_OUT_AFTER_MILLISECONDS) return;
    if (await this.#command("retire", "--now", "--", kid)) this.counts.takenOut++;
    // It is seen to be gone a little later.
    this.#retiringSince.set(kid, Number.POSITIVE_INFINITY);
  }

  /** Whether `countersign keys` did it. */
  async #command(name, ...words) {
    const child = start([...commandOf(this.#folder, ["keys", name]), ...words]);
    const hasEnded = once(child, "exit");
    let output = "";
    for await (const piece of child.stdout) output += piece;
    const [status] = await hasEnded;
    if (status !== 0) this.#tally.add(`countersign keys ${name}`, output);
    return status === 0;
  }
}

/** `{kid, algorithm, state}` of each key that is published. */
function keysOf(scrape) {
  return scrape.samples
    .filter(({ name }) => name === "countersign_key_created_timestamp_seconds")
    .map(({ labels }) => labels);
}
