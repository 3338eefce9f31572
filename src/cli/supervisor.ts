import type { Description } from "./running.ts";

/** A process that answers requests, for whoever watches over it. */
export interface Worker {
  readonly pid: number;
  /** Asks it to let what is under way end, and to end then. */
  stop(order: StopOrder): void;
  /** Ends it at once. */
  kill(): void;
}

/** How a worker stops. */
export interface StopOrder {
  /** For how long it says first that it is not ready. */
  readonly notReadySeconds: number;
  /** Whether another one has taken its place. */
  readonly isReplaced: boolean;
}

/** What a worker does by itself. */
export interface WorkerEvents {
  /**
   * It answers requests.
   *
   * @param description what runs where
   */
  ready(description: Description): void;
  /** Somebody wants it to stop. It goes on until it is told to. */
  leaving(): void;
  /**
   * It is gone.
   *
   * @param reason how it ended, such as "by SIGKILL"
   * @param exitCode 0 where it ended well
   */
  ended(reason: string, exitCode: number): void;
}

/** How workers are kept. */
export interface SupervisorOptions {
  /** How many there are. */
  readonly count: number;
  /** Starts one. */
  readonly fork: (events: WorkerEvents) => Worker;
  /** Told of what becomes of them, in words; a warning where it was not to be. */
  readonly report: (message: string, level: "info" | "warn") => void;
  /** Called when no worker is left that answers requests, although some should. Default: they are started again. */
  readonly onNoneLeft?: () => void;
  /** Milliseconds since the epoch. Default: `Date.now`. */
  readonly now?: () => number;
}

/** How a start went. */
export type StartOutcome =
  | { readonly kind: "started"; readonly description: Description }
  /** A worker could not start. It has said why, and all others have been ended. */
  | { readonly kind: "failed"; readonly exitCode: number };

/** Watches over workers. */
export interface Supervisor {
  /** Starts the first worker and, where that works, the others. */
  start(): Promise<StartOutcome>;
  /**
   * Stops all of them. What has not ended in time is killed.
   *
   * @returns whether all have ended well
   */
  stop(order: StopOrder, patienceMilliseconds: number): Promise<boolean>;
  /** Ends all of them at once. */
  kill(): void;
}

const MIN_DELAY_MILLISECONDS = 100;
const MAX_DELAY_MILLISECONDS = 10_000;
/** A worker that has lived for so long did not end because of how it was started. */
const STEADY_MILLISECONDS = 60_000;

interface Member {
  readonly worker: Worker;
  /** When it was ready; `undefined`: it starts. */
  readyAt: number | undefined;
  isStopping: boolean;
}

/** Keeps `count` workers running: what ends is started again, and what is to stop gets a successor first. */
export function createSupervisor(options: SupervisorOptions): Supervisor {
  const { count, fork, report, onNoneLeft = () => {}, now = Date.now } = options;
  const members = new Set<Member>();
  const timers = new Set<NodeJS.Timeout>();
  const stopping = Promise.withResolvers<void>();
  let isStopping = false;
  let hasEndedBadly = false;

  function startAfter(delayMilliseconds: number, start: () => void): void {
    const timer = setTimeout(() => {
      timers.delete(timer);
      start();
    }, delayMilliseconds);
    timers.add(timer);
  }

  /**
   * Fills one of the places, and keeps it filled.
   *
   * @returns how the first start went
   */
  function fillPlace(): Promise<StartOutcome> {
    const firstStart = Promise.withResolvers<StartOutcome>();
    let hasStarted = false;
    let delay = MIN_DELAY_MILLISECONDS;
    /** It wants to stop, and goes on until another one is ready. */
    let leaver: Member | undefined;

    function start(): void {
      const member: Member = {
        readyAt: undefined,
        isStopping: false,
        worker: fork({
          ready(description) {
            member.readyAt = now();
            hasStarted = true;
            if (leaver && !leaver.isStopping) stopMember(leaver, REPLACED);
            leaver = undefined;
            firstStart.resolve({ kind: "started", description });
          },
          leaving() {
            if (isStopping || member.isStopping || leaver || member.readyAt === undefined) return;
            leaver = member;
            report(`worker ${member.worker.pid} is to stop, and does when another one is ready`, "info");
            start();
          },
          ended(reason, exitCode) {
            if (!members.delete(member)) return;
            if (isStopping) return ended(member, exitCode);
            if (!hasStarted) return firstStart.resolve({ kind: "failed", exitCode });
            if (member.isStopping) return report(`worker ${member.worker.pid} has been replaced`, "info");
            // Its successor is on the way already.
            if (member === leaver) leaver = undefined;
            else startAgain(member, reason);
          },
        }),
      };
      members.add(member);
    }

    function startAgain({ worker, readyAt }: Member, reason: string): void {
      if (readyAt !== undefined && now() - readyAt >= STEADY_MILLISECONDS) delay = MIN_DELAY_MILLISECONDS;
      report(`worker ${worker.pid} ended ${reason}; another one starts in ${delay / 1000} s`, "warn");
      if (![...members].some((member) => member.readyAt !== undefined)) onNoneLeft();
      startAfter(delay, start);
      delay = Math.min(delay * 2, MAX_DELAY_MILLISECONDS);
    }

    start();
    return firstStart.promise;
  }

  function ended({ readyAt }: Member, exitCode: number): void {
    if (exitCode !== 0 && readyAt !== undefined) hasEndedBadly = true;
    if (members.size === 0) stopping.resolve();
  }

  function stopMember(member: Member, order: StopOrder): void {
    member.isStopping = true;
    member.worker.stop(order);
  }

  function kill(): void {
    isStopping = true;
    for (const timer of timers) clearTimeout(timer);
    for (const { worker } of members) worker.kill();
  }

  return {
    async start() {
      const first = await fillPlace();
      if (first.kind === "failed") return first;
      const others = await Promise.all(Array.from({ length: count - 1 }, fillPlace));
      const failed = others.find(({ kind }) => kind === "failed");
      if (failed) kill();
      return failed ?? first;
    },

    async stop(order, patienceMilliseconds) {
      isStopping = true;
      for (const timer of timers) clearTimeout(timer);
      if (members.size === 0) return true;
      for (const member of members) if (!member.isStopping) stopMember(member, order);
      const patience = setTimeout(kill, patienceMilliseconds);
      await stopping.promise;
      clearTimeout(patience);
      return !hasEndedBadly;
    },

    kill,
  };
}

const REPLACED: StopOrder = { notReadySeconds: 0, isReplaced: true };
