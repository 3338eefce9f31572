import { scrapeOf } from "../../test/support/metrics.ts";
import { ask } from "../requests.js";
import { pause } from "./pause.js";

const EVERY_MILLISECONDS = 2000;

/** What the sidecar tells of itself, asked as Prometheus would, but more often. */
export class Scrapes {
  #port;
  /** The last one; `undefined` before the first. */
  last;

  constructor(adminPort) {
    this.#port = adminPort;
  }

  async run(signal) {
    while (!signal.aborted) {
      await this.take();
      await pause(EVERY_MILLISECONDS, signal);
    }
  }

  /** Asks now. */
  async take() {
    const { status, body } = await ask(this.#port, "/metrics");
    if (status !== 200) throw new Error(`/metrics answers ${status}: ${body}`);
    this.last = scrapeOf(body);
    return this.last;
  }
}
