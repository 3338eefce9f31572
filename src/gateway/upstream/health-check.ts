import type { Dispatcher } from "undici";
import type { SourceEvent } from "../../refresh.ts";
import type { Transport, TransportHandler } from "./transport.ts";
import { failureOf } from "./upstream-failure.ts";
import type { HealthCheckOptions } from "./upstream-options.ts";

/** How a backend is. */
export type UpstreamHealth =
  /** It has not answered yet. */
  | { readonly state: "unknown" }
  | { readonly state: "healthy" }
  | {
      readonly state: "unhealthy";
      readonly reason: string;
      /** Milliseconds since the epoch. */
      readonly since: number;
    };

/** How one backend is. */
export type OriginHealth = UpstreamHealth & {
  /** Such as `http://127.0.0.1:9000`; of a Unix socket `unix:/run/app.sock`. */
  readonly origin: string;
};

/** Asks a backend again and again how it is. */
export interface HealthCheck {
  /** Asks for the first time, and then at regular intervals. */
  start(): void;
  health(): UpstreamHealth;
  close(): Promise<void>;
}

/** What {@link createHealthCheck} needs beside the upstream. */
export interface HealthCheckSurroundings {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Told when the backend falls ill, and when it is well again. */
  readonly onEvent: (event: SourceEvent) => void;
}

/**
 * Creates what asks a backend how it is.
 *
 * @param origin its name, for messages
 * @param transport for these requests alone; it is destroyed at the end
 */
export function createHealthCheck(
  origin: string,
  { path, intervalSeconds, timeoutSeconds }: HealthCheckOptions,
  transport: Transport,
  { now, onEvent }: HealthCheckSurroundings,
): HealthCheck {
  let health: UpstreamHealth = { state: "unknown" };
  let interval: NodeJS.Timeout | undefined;
  let probe: Probe | undefined;

  function check(): void {
    // One that is not over is over soon: it has a timeout of its own.
    if (probe) return;
    const begun = new Probe(timeoutSeconds * 1000, (reason) => {
      probe = undefined;
      transport.release(begun);
      if (interval !== undefined) conclude(reason);
    });
    probe = begun;
    transport.dispatch(
      {
        method: "GET",
        target: path,
        fields: ["user-agent", "countersign"],
        body: null,
        acceptsTrailers: false,
      },
      begun,
    );
  }

  function conclude(reason: string | undefined): void {
    const before = health.state;
    if (reason === undefined) {
      health = { state: "healthy" };
      if (before === "unhealthy") onEvent({ kind: "recovered", message: `${origin} is healthy again` });
    } else if (health.state === "unhealthy") {
      health = { ...health, reason };
    } else {
      health = { state: "unhealthy", reason, since: now() };
      onEvent({ kind: "problem", message: `${origin} is not healthy: GET ${path}: ${reason}` });
    }
  }

  return {
    start() {
      if (interval) return;
      interval = setInterval(check, intervalSeconds * 1000).unref();
      check();
    },
    health: () => health,
    async close() {
      clearInterval(interval);
      interval = undefined;
      await transport.destroy();
    },
  };
}

/** One question. The answer counts when its fields are there; what follows is read and dropped. */
class Probe implements TransportHandler {
  connection: TransportHandler["connection"];
  readonly #conclude: (reason: string | undefined) => void;
  readonly #timer: NodeJS.Timeout;
  #controller: Dispatcher.DispatchController | undefined;
  #reason: string | undefined;
  #isOver = false;

  /** @param conclude told once: nothing where the backend is healthy, else why it is not */
  constructor(timeoutMilliseconds: number, conclude: (reason: string | undefined) => void) {
    this.#conclude = conclude;
    this.#timer = setTimeout(() => {
      const late = new Error("no answer in time");
      this.#controller?.abort(late);
      this.#end(late.message);
    }, timeoutMilliseconds).unref();
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.connection?.begin();
    this.#controller = controller;
    if (this.#isOver) controller.abort(new Error("no answer in time"));
  }

  onResponseStarted(): void {}

  onResponseStart(_controller: Dispatcher.DispatchController, statusCode: number): void {
    if (statusCode >= 400) this.#reason = `the status is ${statusCode}`;
  }

  onResponseData(): void {}

  onResponseEnd(): void {
    this.#end(this.#reason);
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    const { problem, cause } = failureOf(error);
    this.#end(cause.message || problem.detail);
  }

  #end(reason: string | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#conclude(reason);
  }
}
