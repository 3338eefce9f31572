import { createTraceState, type SpanContext, TraceFlags } from "@opentelemetry/api";
import { parseTraceParent } from "@opentelemetry/core";
import type { ClientRequest } from "../gateway/client/client-message.ts";
import type { RawFields } from "../gateway/fields.ts";

/** Set where a trace id is random in all its bits (W3C Trace Context level 2 §3.2.2.5.2): to be passed on. */
const RANDOM = 0x02;

/**
 * The span that a request says it is a part of; `undefined` where it says none, or where `traceparent` cannot be read.
 *
 * @see https://www.w3.org/TR/trace-context-2/#traceparent-header
 */
export function parentOf({ headers }: ClientRequest): SpanContext | undefined {
  const { traceparent, tracestate } = headers;
  // Two of them are joined, and are none.
  const parent = typeof traceparent === "string" && parseTraceParent(traceparent);
  if (!parent) return undefined;
  return {
    ...parent,
    isRemote: true,
    ...(tracestate && { traceState: createTraceState(String(tracestate)) }),
  };
}

/**
 * Has the fields of a request to the backend name our own span as the parent. `tracestate` goes on byte for byte, but not
 * without the `traceparent` that it belongs to.
 *
 * @param parent what the client named
 */
export function setTraceContext(fields: RawFields, own: SpanContext, parent: SpanContext | undefined): void {
  for (let i = fields.length - 2; i >= 0; i -= 2) {
    const name = (fields[i] as string).toLowerCase();
    if (name === "traceparent" || (name === "tracestate" && !parent)) fields.splice(i, 2);
  }
  const flags = (own.traceFlags & TraceFlags.SAMPLED) | ((parent?.traceFlags ?? 0) & RANDOM);
  fields.push("traceparent", `00-${own.traceId}-${own.spanId}-0${flags}`);
}
