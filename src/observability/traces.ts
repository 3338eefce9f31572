import type { RequestTracer } from "../gateway/request-record.ts";

/** Traces of requests, which are sent to a collector. */
export interface Tracing {
  readonly tracer: RequestTracer;
  /** Sends what has not been sent, for a few seconds at most. It never throws. */
  close(): Promise<void>;
}

/** What became of traces that were asked for. */
export interface TracingEvent {
  readonly kind: "problem" | "recovered";
  /** What happened, in words. */
  readonly message: string;
}
