/** Something that may wait too long. */
export interface Watched {
  /** Where it stands in the watch; set by that, and by nobody else. */
  watchIndex: number;
  /** Called every {@link TICK_MILLISECONDS}. */
  tick(): void;
}

const TICK_MILLISECONDS = 500;

/** How many ticks have surely taken that long. */
export function ticksOf(seconds: number): number {
  return Math.ceil((seconds * 1000) / TICK_MILLISECONDS) + 1;
}

/**
 * One timer for all that may wait too long, in place of several for each request. It counts ticks and no time, so that a
 * process that was stopped for a while does not take its own silence for others'.
 */
export class StallWatch {
  /**
   * No `Set`: when its table is full V8 makes another one, and links the old table to it. As soon as one such table has got
   * into the old generation it keeps every later one alive, and each request that was in one when it was left.
   */
  readonly #watched: Watched[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor() {
    this.#timer = setInterval(() => {
      // From the end: where one is deleted, the last takes its place.
      for (let i = this.#watched.length - 1; i >= 0; i--) this.#watched[i]?.tick();
    }, TICK_MILLISECONDS).unref();
  }

  add(watched: Watched): void {
    watched.watchIndex = this.#watched.length;
    this.#watched.push(watched);
  }

  /** Does nothing where it is not watched. */
  delete(watched: Watched): void {
    const { watchIndex } = watched;
    if (this.#watched[watchIndex] !== watched) return;
    const last = this.#watched.pop() as Watched;
    if (last === watched) return;
    last.watchIndex = watchIndex;
    this.#watched[watchIndex] = last;
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
