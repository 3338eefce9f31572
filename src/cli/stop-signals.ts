import type { Config } from "../config/config.ts";

/** The signals that stop Countersign. */
export type StopSignal = "SIGTERM" | "SIGINT";

/**
 * Waits for SIGTERM or SIGINT, then closes; the same or the other once more ends the process at once.
 *
 * @param describe what is printed of the signal
 * @param endAtOnce called before the process ends at once
 */
export async function closeOnSignal(
  close: (signal: StopSignal) => Promise<void>,
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
  console.error(`\n${signal}: ${describe(signal)}; a second signal ends at once`);
  await close(signal);
  // Whatever a library still holds open must not keep a stopped sidecar alive.
  process.exit();
}

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
