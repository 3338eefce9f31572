import {
  type Context,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import type { RawFields } from "../gateway/fields.ts";
import type { RequestRecord, RequestTrace, RequestTracer } from "../gateway/request-record.ts";
import {
  nameOf,
  receivedAttributes,
  requestResult,
  type SpanResult,
  tokenResult,
  upstreamResult,
} from "./span-attributes.ts";
import { parentOf, setTraceContext } from "./trace-context.ts";

/** Makes the spans of requests. */
export interface RequestSpanMaker {
  readonly tracer: RequestTracer;
  /** Resolves when every request that has begun has its spans. */
  idle(): Promise<void>;
}

/** Creates what makes the spans of each request: one of its own, and below it those of its token and of the backend. */
export function createRequestSpanMaker(tracer: Tracer): RequestSpanMaker {
  let underWay = 0;
  let onIdle: (() => void) | undefined;
  const onEnded = () => {
    underWay--;
    if (underWay === 0) onIdle?.();
  };
  return {
    tracer(record) {
      underWay++;
      return new RequestSpans(tracer, record, onEnded);
    },
    async idle() {
      if (underWay === 0) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      onIdle = resolve;
      await promise;
    },
  };
}

class RequestSpans implements RequestTrace {
  readonly traceId: string;
  readonly #tracer: Tracer;
  readonly #record: RequestRecord;
  readonly #onEnded: () => void;
  /**
   * From `performance.now()` to milliseconds since the epoch. Not by `performance.timeOrigin`: that knows nothing of a clock
   * that was set while the process ran.
   */
  readonly #epochOffset = Date.now() - performance.now();
  readonly #parent: SpanContext | undefined;
  readonly #context: Context;
  readonly #server: Span;
  #upstream: Span | undefined;

  constructor(tracer: Tracer, record: RequestRecord, onEnded: () => void) {
    const { clientRequest, receivedAt } = record;
    this.#onEnded = onEnded;
    this.#tracer = tracer;
    this.#record = record;
    this.#parent = parentOf(clientRequest);
    const around = this.#parent ? trace.setSpanContext(ROOT_CONTEXT, this.#parent) : ROOT_CONTEXT;
    this.#server = this.#begin(nameOf(clientRequest), SpanKind.SERVER, receivedAt, around);
    this.#context = trace.setSpan(ROOT_CONTEXT, this.#server);
    this.traceId = this.#server.spanContext().traceId;
    // By the end the connection may be gone.
    if (this.#server.isRecording()) this.#server.setAttributes(receivedAttributes(clientRequest));
  }

  forwarded(fields: RawFields): void {
    this.#upstream = this.#begin("upstream", SpanKind.CLIENT, performance.now(), this.#context);
    setTraceContext(fields, this.#upstream.spanContext(), this.#parent);
  }

  ended(): void {
    if (this.#server.isRecording()) this.#endSpans();
    this.#onEnded();
  }

  #endSpans(): void {
    const record = this.#record;
    const endedAt = record.endedAt as number;
    if (record.tokenAt !== undefined) {
      const span = this.#begin("token", SpanKind.INTERNAL, record.authenticatedAt as number, this.#context);
      this.#end(span, record.tokenAt, tokenResult(record));
    }
    // One that found no room in the queue was never sent.
    if (this.#upstream && record.forwardedAt !== undefined)
      this.#end(this.#upstream, endedAt, upstreamResult(record));
    if (record.policy) this.#server.updateName(`${nameOf(record.clientRequest)} ${record.policy.name}`);
    this.#end(this.#server, endedAt, requestResult(record));
  }

  #begin(name: string, kind: SpanKind, at: number, context: Context): Span {
    return this.#tracer.startSpan(name, { kind, startTime: at + this.#epochOffset }, context);
  }

  #end(span: Span, at: number, { attributes, isError }: SpanResult): void {
    span.setAttributes(attributes);
    if (isError) span.setStatus({ code: SpanStatusCode.ERROR });
    span.end(at + this.#epochOffset);
  }
}
