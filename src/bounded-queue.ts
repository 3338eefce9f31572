/** Runs a few jobs at once, keeps some waiting, and takes no more. */
export interface BoundedQueue {
  /** Runs a job when it is its turn; `undefined` where too many wait already. */
  run<T>(job: () => Promise<T>): Promise<T> | undefined;
}

/** Creates a queue that runs at most `atOnce` jobs and keeps at most `waiting` more, first in, first out. */
export function createBoundedQueue({ atOnce, waiting }: { atOnce: number; waiting: number }): BoundedQueue {
  let running = 0;
  const queue: (() => void)[] = [];

  async function runWhenFree<T>(job: () => Promise<T>): Promise<T> {
    if (running < atOnce) running++;
    // The job before hands its place on, so that nobody comes in between.
    else await new Promise<void>((resolve) => queue.push(resolve));
    try {
      return await job();
    } finally {
      const next = queue.shift();
      if (next) next();
      else running--;
    }
  }

  return {
    run: (job) => (running >= atOnce && queue.length >= waiting ? undefined : runWhenFree(job)),
  };
}
