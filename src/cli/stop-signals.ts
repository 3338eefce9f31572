import type { Config } from "../config/config.ts";
import type { Log } from "../observability/log.ts";

/** The signals that stop Countersign. */
export type StopSignal = "SIGTERM" | "SIGINT";

/**
 * Waits for SIGTERM or SIGINT, then closes; the same or the other once more ends the process at once.
 *
 * @param log is told of the signal
 * @param describe what the log says of it
 * @param endAtOnce called before the process ends at once
 */
export async function closeOnSignal(
  close: (signal: StopSignal) => Promise<void>,
  log: Log,
  describe: (signal: StopSignal) => string = () => FINISHING,
  endAtOnce: () => void = () => {},
): Promise<void> {
  const signal = await new Promise<StopSignal>((resolve) => {
    process.once("SIGTERM", resolve);
    process.once("SIGINT", resolve);
  });
  // Said aloud, because process 1 of a container ignores a signal that it has no handler for.
  for (const again of ["SIGTERM", "SIGINT"] as const)
    process.once(again, () => {
      endAtOnce();
      process.exit(1);
    });
  const message = `${signal}: ${describe(signal)}; a second signal ends at once`;
  // A terminal shows ^C in the line.
  log.announce(`\n${message}`, message, { signal });
  await close(signal);
  // Whatever a library still holds open must not keep a stopped sidecar alive.
  process.exit();
}

/** Does `start`, which may take long. A signal meanwhile ends the process, as nothing is under way. */
export async function endingOnSignal<T>(start: () => Promise<T>): Promise<T> {
  // By itself it does, but not process 1 of a container.
  const end = () => process.exit();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, end);
  try {
    return await start();
  } finally {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.off(signal, end);
  }
}

/** Waits for SIGTERM or SIGINT from now on, and keeps the process alive until it is disposed of. */
export function awaitStop(): { readonly stopped: Promise<void> } & Disposable {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = () => resolve();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, stop);
  const alive = setInterval(() => {}, LONG_MILLISECONDS);
  return {
    stopped: promise,
    [Symbol.dispose]() {
      clearInterval(alive);
      for (const signal of ["SIGTERM", "SIGINT"] as const) process.off(signal, stop);
    },
  };
}

/** As long as a timer may be. */
const LONG_MILLISECONDS = 2 ** 31 - 1;

const FINISHING = "finishing the requests under way";

/**
 * For how long a signal leaves the sidecar running while it says that it is not ready. Whoever presses Ctrl-C does not
 * want to wait, and without an operators' listener nobody would hear it.
 */
export function notReadySecondsOf({ admin, timeouts }: Config, signal: StopSignal): number {
  return admin && signal === "SIGTERM" ? timeouts.notReadySeconds : 0;
}

/** What a signal does, in words. */
export function describeStop(config: Config, signal: StopSignal): string {
  const notReadySeconds = notReadySecondsOf(config, signal);
  return notReadySeconds === 0 ? FINISHING : `not ready for ${notReadySeconds} s, then ${FINISHING}`;
}
