import { availableParallelism } from "node:os";

/** The threads of Node.js' pool (libuv's default), which also looks names up, reads files and checks passwords. */
const POOL_THREADS = Number(process.env.UV_THREADPOOL_SIZE) || 4;

/**
 * How many jobs are given to the pool at once. With more than there are processors they would take time from the event loop,
 * and so from every request; and one thread stays free for what else needs one.
 */
const MAX_UNDER_WAY = Math.max(1, Math.min(POOL_THREADS - 1, availableParallelism()));

const waiting: (() => void)[] = [];
let underWay = 0;

/** Runs a job for a thread of the pool as soon as it is its turn. */
export async function inSigningThread<T>(job: () => Promise<T>): Promise<T> {
  if (underWay < MAX_UNDER_WAY) underWay++;
  else await new Promise<void>((resolve) => waiting.push(resolve));
  try {
    return await job();
  } finally {
    // Who has waited longest takes this one's place.
    const next = waiting.shift();
    if (next) next();
    else underWay--;
  }
}
