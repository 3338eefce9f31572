import { availableParallelism } from "node:os";
import { createBoundedQueue } from "../bounded-queue.ts";

/** The threads of Node.js' pool (libuv's default), which also looks names up, reads files and checks passwords. */
const POOL_THREADS = Number(process.env.UV_THREADPOOL_SIZE) || 4;

/**
 * No more jobs at once than there are processors: they would take time from the event loop, and so from every request. One
 * thread stays free for what else needs one.
 */
const queue = createBoundedQueue({
  atOnce: Math.max(1, Math.min(POOL_THREADS - 1, availableParallelism())),
  waiting: Number.POSITIVE_INFINITY,
});

/** Runs a job for a thread of the pool as soon as it is its turn. */
export function inSigningThread<T>(job: () => Promise<T>): Promise<T> {
  // However many wait.
  return queue.run(job) as Promise<T>;
}
