/** Examples of each kind of error that are kept. */
const MOST_EXAMPLES = 3;

/** What went wrong, by kind, with the time of each. */
export class Tally {
  #now;
  #kinds = new Map();
  /** Seconds since the begin of what is measured; one for each error. */
  times = [];

  /** @param now seconds since the begin of what is measured */
  constructor(now) {
    this.#now = now;
  }

  add(kind, example = "", count = 1) {
    const entry = this.#kinds.get(kind) ?? { kind, count: 0, examples: [] };
    this.#kinds.set(kind, entry);
    entry.count += count;
    if (entry.examples.length < MOST_EXAMPLES) entry.examples.push(String(example).slice(0, 300));
    for (let i = 0; i < count; i++) this.times.push(this.#now());
  }

  get count() {
    return this.times.length;
  }

  /** `{kind, count, examples}` of each kind. */
  kinds() {
    return [...this.#kinds.values()];
  }
}
