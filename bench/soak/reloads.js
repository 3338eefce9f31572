import { setTimeout } from "node:timers/promises";
import { ECHO_PATH } from "../backend.js";
import { API_KEY_FIELDS } from "../countersign.js";
import { ask } from "../requests.js";
import { pause } from "./pause.js";

const EVERY_MILLISECONDS = 5000;
/** One of so many is broken, and another one is followed by a SIGHUP. */
const ROUND = 4;
const ASKED_EVERY_MILLISECONDS = 50;
const GIVEN_UP_AFTER_MILLISECONDS = 10_000;

/** Changes the configuration again and again, sometimes for one that cannot be used, and sometimes asks for it by SIGHUP. */
export class Reloads {
  #options;
  /** The numbers of the configurations that a token may be of: one of a request that is sent now. */
  oldest = 0;
  newest = 0;
  counts = { used: 0, broken: 0, hangups: 0 };

  /** @param mark called with the kind of each change when it is made */
  constructor({ port, pid, configurations, verifier, scrapes, tally, mark }) {
    this.#options = { port, pid, configurations, verifier, scrapes, tally, mark };
  }

  async run(signal) {
    for (let turn = 1; ; turn++) {
      await pause(EVERY_MILLISECONDS, signal);
      if (signal.aborted) return;
      try {
        if (turn % ROUND === 0) await this.#break(turn / ROUND);
        else await this.#change();
        if (turn % ROUND === 2) await this.#hangUp();
      } catch (error) {
        this.#options.tally.add("reload: it cannot be seen whether it is used", error.message);
      }
    }
  }

  async #change() {
    const { port, configurations, verifier, tally, mark } = this.#options;
    this.newest++;
    mark("reload");
    configurations.save(this.newest);
    const isUsed = await isSoon(async () => {
      const { body } = await ask(port, ECHO_PATH, API_KEY_FIELDS);
      return verifier.claimsOf(body).generation === this.newest;
    });
    if (!isUsed) return tally.add("reload: a configuration is not used in time", this.newest);
    this.oldest = this.newest;
    this.counts.used++;
  }

  async #break(number) {
    const { configurations, mark } = this.#options;
    mark("broken");
    await this.#isTold("failure", () => configurations.saveBroken(number));
    this.counts.broken++;
  }

  async #hangUp() {
    const { pid, mark } = this.#options;
    mark("reload");
    await this.#isTold("success", () => process.kill(pid, "SIGHUP"));
    this.counts.hangups++;
  }

  async #isTold(outcome, act) {
    const { scrapes, tally } = this.#options;
    const told = async () => (await scrapes.take()).total("countersign_config_reloads_total", { outcome });
    const before = await told();
    act();
    if (!(await isSoon(async () => (await told()) > before)))
      tally.add(`reload: no ${outcome} is told in time`);
  }
}

/** Whether something comes true before it takes too long. */
async function isSoon(isTrue) {
  for (const begin = performance.now(); performance.now() - begin < GIVEN_UP_AFTER_MILLISECONDS; ) {
    if (await isTrue()) return true;
    await setTimeout(ASKED_EVERY_MILLISECONDS);
  }
  return false;
}
