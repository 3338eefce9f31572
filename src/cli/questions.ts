import { CountersignError } from "../errors.ts";

/** Longer than the answer takes where a worker does not say what it has counted. */
const PATIENCE_MILLISECONDS = 5000;

/** Questions of a worker to the process that has started it, which are all the same. */
export class Questions {
  readonly #send: () => void;
  #asked: PromiseWithResolvers<string> | undefined;

  /** @param send puts the question */
  constructor(send: () => void) {
    this.#send = send;
  }

  /**
   * Asks, unless the answer is on its way.
   *
   * @throws {CountersignError} ERR_METRICS_UNAVAILABLE where there is none in time
   */
  ask(): Promise<string> {
    if (this.#asked) return this.#asked.promise;
    const asked = Promise.withResolvers<string>();
    this.#asked = asked;
    const patience = setTimeout(() => {
      this.#asked = undefined;
      asked.reject(new CountersignError("ERR_METRICS_UNAVAILABLE", "the first process does not answer"));
    }, PATIENCE_MILLISECONDS);
    void asked.promise.catch(() => {}).finally(() => clearTimeout(patience));
    this.#send();
    return asked.promise;
  }

  /** The answer has come. */
  answer(text: string): void {
    this.#asked?.resolve(text);
    this.#asked = undefined;
  }
}
