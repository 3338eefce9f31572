import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { vi } from "vitest";
import { decodeProtobuf, type ProtobufFields } from "./protobuf.ts";

/** A span as a collector got it. */
export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** "" of a span that has no parent. */
  readonly parentSpanId: string;
  readonly traceState: string;
  readonly name: string;
  readonly kind: string | undefined;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly endedAt: number;
  readonly attributes: Attributes;
  readonly status: string | undefined;
  /** What the sidecar says of itself. */
  readonly resource: Attributes;
}

type Attributes = Readonly<Record<string, string | number | boolean>>;

/** A collector of OpenTelemetry, over OTLP/HTTP. */
export interface OtlpReceiver extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly spans: ReceivedSpan[];
  /** The requests that brought them, with their bytes. */
  readonly requests: {
    readonly path: string;
    readonly headers: IncomingHttpHeaders;
    readonly body: Buffer;
  }[];
  /** Those of a name. */
  named(name: string): ReceivedSpan[];
}

/**
 * Starts a collector that takes every span.
 *
 * @param answer for one that does otherwise: called when a request has been read
 */
export async function startOtlpReceiver({
  port: wanted = 0,
  answer = (_request, response) => void response.end(),
}: {
  readonly port?: number;
  readonly answer?: RequestListener;
} = {}): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = [];
  const requests: OtlpReceiver["requests"] = [];
  const server = createServer(async (request, response) => {
    const body = await buffer(request);
    requests.push({ path: request.url ?? "", headers: request.headers, body });
    spans.push(...spansOf(body));
    answer(request, response);
  });
  server.listen(wanted, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    spans,
    requests,
    named: (name) => spans.filter((span) => span.name === name),
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

/** Has the sidecars of this process send their spans to a collector, until the test ends. */
export function sendSpansTo(url: string, variables: Readonly<Record<string, string>> = {}): void {
  vi.stubEnv("OTEL_EXPORTER_OTLP_ENDPOINT", url);
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
}

const KINDS = [undefined, "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
const STATUSES = [undefined, "OK", "ERROR"];

/** @see https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto */
function spansOf(body: Buffer): ReceivedSpan[] {
  return messages(decodeProtobuf(body), 1).flatMap((resourceSpans) => {
    const [resource = new Map()] = messages(resourceSpans, 1);
    const scopes = messages(resourceSpans, 2);
    return scopes.flatMap((scope) =>
      messages(scope, 2).map((span) => spanOf(span, attributesOf(resource, 1))),
    );
  });
}

function spanOf(span: ProtobufFields, resource: Attributes): ReceivedSpan {
  const bytes = (field: number) => (span.get(field)?.[0] as Buffer | undefined) ?? Buffer.alloc(0);
  const milliseconds = (field: number) => Number(span.get(field)?.[0]) / 1e6;
  const [status = new Map()] = messages(span, 15);
  return {
    traceId: bytes(1).toString("hex"),
    spanId: bytes(2).toString("hex"),
    traceState: bytes(3).toString(),
    parentSpanId: bytes(4).toString("hex"),
    name: bytes(5).toString(),
    kind: KINDS[Number(span.get(6)?.[0])],
    startedAt: milliseconds(7),
    endedAt: milliseconds(8),
    attributes: attributesOf(span, 9),
    status: STATUSES[Number(status.get(3)?.[0] ?? 0)],
    resource,
  };
}

function attributesOf(message: ProtobufFields, field: number): Attributes {
  return Object.fromEntries(
    messages(message, field).map((pair) => {
      const [value = new Map()] = messages(pair, 2);
      return [String(pair.get(1)?.[0]), anyValueOf(value)];
    }),
  );
}

function anyValueOf(value: ProtobufFields): string | number | boolean {
  if (value.has(1)) return String(value.get(1)?.[0]);
  return value.has(2) ? value.get(2)?.[0] === 1n : Number(value.get(3)?.[0]);
}

function messages(message: ProtobufFields, field: number): ProtobufFields[] {
  return (message.get(field) ?? []).map((bytes) => decodeProtobuf(bytes as Buffer));
}
