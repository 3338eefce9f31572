import { listOf } from "../strict-http/message.ts";
import { type RequestSequence, readRequests, type StrictRequest } from "../strict-http/requests.ts";
import type { GeneratedConnection } from "./raw-requests.ts";
import { MARKER } from "./raw-targets.ts";
import { canonicalName } from "./strict-recorder.ts";

/** A request that was sent, and may arrive once. */
export interface SentRequest {
  readonly request: StrictRequest;
  /** What the backend gets for its target: path and query. */
  readonly originForm: string;
  /** The marker that its answer shows; `undefined` where none is left in its target. */
  readonly marker: string | undefined;
  hasArrived: boolean;
}

/** One connection's bytes, with what a strict reader makes of them. */
export interface SentConnection {
  readonly pieces: readonly string[];
  readonly sequence: RequestSequence;
  readonly requests: readonly SentRequest[];
  /** Whether each request has to be answered, and the connection closes behind the last answer. */
  readonly isValid: boolean;
}

/** The marker in a target, as {@link sentConnection} writes it. */
export function markerIn(target: string): string | undefined {
  return /m\d{6}[a-z]/.exec(target)?.[0];
}

/**
 * Makes bytes of what was generated.
 *
 * @param number up to six digits; no other connection has it
 */
export function sentConnection(generated: GeneratedConnection, number: number): SentConnection {
  const isValid = generated.requests.every((request) => request.isValid) && generated.garbage === "";
  const seams: { readonly at: number; readonly kind: "body" | "request" }[] = [];
  let bytes = "";
  for (const [index, { head, body }] of generated.requests.entries()) {
    const isLast = index === generated.requests.length - 1;
    const closing = isValid && isLast ? head.replace(/\r\n$/, "Connection: close\r\n\r\n") : head;
    const marker = `m${String(number).padStart(6, "0")}${String.fromCharCode(97 + index)}`;
    bytes += closing.replaceAll(MARKER, marker);
    seams.push({ at: bytes.length, kind: "body" });
    // A request in the body begins a piece of its own.
    const smuggled = body.indexOf("GET /");
    if (smuggled > 0) seams.push({ at: bytes.length + smuggled, kind: "body" });
    bytes += body.replaceAll(MARKER, marker);
    seams.push({ at: bytes.length, kind: "request" });
  }
  const marker = `m${String(number).padStart(6, "0")}z`;
  bytes += generated.garbage.replaceAll(MARKER, marker);

  const cuts = generated.cuts.flatMap((cut) =>
    typeof cut === "number"
      ? [Math.floor(cut * bytes.length)]
      : seams.filter(({ kind }) => kind === cut).map(({ at }) => at),
  );
  const offsets = [...new Set([0, ...cuts, bytes.length])].sort((a, b) => a - b);
  const pieces = offsets.slice(1).map((end, index) => bytes.slice(offsets[index], end));
  const sequence = readRequests(bytes);
  const requests = sequence.requests.map((request) => ({
    request,
    originForm: originFormOf(request.target),
    marker: markerIn(request.target),
    hasArrived: false,
  }));
  return { pieces, sequence, requests, isValid };
}

/** Fields that a `Connection` line cannot take away, as the sidecar sets them itself, or as the message needs them. */
const STAYS =
  /^(?:host|content-length|transfer-encoding|connection|upgrade|via|x-request-id|x-forwarded-.*)$/;

/** The fields that arrived although the client's `Connection` names them; `set` is what the sidecar sets beside. */
export function nominatedFields(
  { request }: SentRequest,
  arrived: StrictRequest,
  set: readonly string[],
): string[] {
  const nominated = new Set(listOf(request.fields, "connection").map(canonicalName));
  return arrived.fields
    .map(([name]) => canonicalName(name))
    .filter((name) => nominated.has(name) && !STAYS.test(name) && !set.includes(name));
}

function originFormOf(target: string): string {
  const [, rest] = /^https?:\/\/[^/?#]*(.*)$/i.exec(target) ?? [];
  if (rest === undefined) return target;
  return rest.startsWith("/") ? rest : `/${rest}`;
}

/** What was sent lately, so that what arrives can be told from what was smuggled. */
export class SentTraffic {
  /** By what the backend gets for the target. */
  #current = new Map<string, SentRequest[]>();
  #previous = new Map<string, SentRequest[]>();

  add({ requests }: SentConnection): void {
    for (const sent of requests) {
      const alike = this.#current.get(sent.originForm);
      if (alike) alike.push(sent);
      else this.#current.set(sent.originForm, [sent]);
    }
  }

  /** Forgets what is older than the last time. Requests of clients that left may arrive a little late. */
  age(): void {
    this.#previous = this.#current;
    this.#current = new Map();
  }

  /** Finds the request that arrived as this one; `undefined` where nobody sent it, or it arrived before. */
  claim({ method, target, body }: StrictRequest): SentRequest | undefined {
    const alike = [...(this.#current.get(target) ?? []), ...(this.#previous.get(target) ?? [])];
    const sent = alike.find(
      ({ request, hasArrived }) =>
        !hasArrived && request.method === method && request.body.content === body.content,
    );
    if (sent) sent.hasArrived = true;
    return sent;
  }
}
