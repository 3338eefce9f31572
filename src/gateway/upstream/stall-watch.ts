/** Something that may wait too long. */
export interface Watched {
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
  readonly #watched = new Set<Watched>();
  readonly #timer: NodeJS.Timeout;

  constructor() {
    this.#timer = setInterval(() => {
      for (const watched of this.#watched) watched.tick();
    }, TICK_MILLISECONDS).unref();
  }

  add(watched: Watched): void {
    this.#watched.add(watched);
  }

  delete(watched: Watched): void {
    this.#watched.delete(watched);
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
