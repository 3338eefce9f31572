import { http } from "../../node-http.ts";
import { clientResponseFields, type RawFields } from "../fields.ts";
import type { ClientRequest, ClientResponse } from "./client-message.ts";
import { announceEnd } from "./client-response.ts";
import { isHttp2Response } from "./http2-message.ts";
import { hasUnreadBody } from "./message-body.ts";
import { trailerFields } from "./trailers.ts";

/** The head of a response as the upstream sent it. */
export interface UpstreamHead {
  readonly statusCode: number;
  readonly statusMessage: string;
  /** Name and value by turns. */
  readonly rawFields: readonly (Buffer | string)[];
  /** Nothing follows it, neither a body nor trailers. */
  readonly isAlone: boolean;
}

/** Sends the head of the final response to the client. */
export function sendHead(
  clientRequest: ClientRequest,
  clientResponse: ClientResponse,
  head: UpstreamHead,
): void {
  const { statusCode, statusMessage, rawFields, isAlone } = head;
  const fields = clientResponseFields(statusCode, rawFields);
  if (statusCode === RESET_CONTENT) withoutContent(fields);
  if (isHttp2Response(clientResponse)) {
    const isWhole = isAlone || statusCode === RESET_CONTENT;
    // A gRPC response of trailers alone is one HEADERS frame that ends the stream.
    clientResponse.stream.respond([":status", String(statusCode), ...lowerCaseNames(fields)], {
      endStream: isWhole,
      waitForTrailers: !isWhole,
    });
    return;
  }
  // An answer before the end of the upload: nobody will read the rest, so the connection cannot be used again.
  if (hasUnreadBody(clientRequest)) announceEnd(clientResponse);
  clientResponse.writeHead(statusCode, reasonPhraseOf(statusCode, statusMessage), fields);
}

/**
 * Sends an interim response, such as 103 Early Hints, to a client that knows what it is (RFC 9110 §15.2). One that its
 * connection has not come to yet is left out: Node.js would add it behind its head.
 */
export function sendInterim(
  clientRequest: ClientRequest,
  clientResponse: ClientResponse,
  statusCode: number,
  rawFields: readonly (Buffer | string)[],
): void {
  const fields = clientResponseFields(statusCode, rawFields);
  if (isHttp2Response(clientResponse))
    clientResponse.stream.additionalHeaders(interimHeaders(statusCode, fields));
  else if (clientRequest.httpVersion === "1.1" && clientResponse.socket)
    // Node.js 24 has it only from one of its later versions; an interim response may always be left out.
    clientResponse.writeInformation?.(statusCode, fields);
}

/** Sends the trailers of a response that the client keeps; to be called before its end. */
export function sendTrailers(
  clientRequest: ClientRequest,
  clientResponse: ClientResponse,
  rawTrailers: readonly (Buffer | string)[],
): void {
  if (rawTrailers.length === 0) return;
  if (isHttp2Response(clientResponse)) {
    if (!clientResponse.stream.writableEnded)
      clientResponse.addTrailers(objectOf(trailerFields(rawTrailers)));
    return;
  }
  // They may be dropped, and whoever does not ask for them may take them for fields (RFC 9110 §6.5.1).
  if (clientRequest.httpVersion === "1.1" && clientResponse.chunkedEncoding && acceptsTrailers(clientRequest))
    clientResponse.addTrailers(pairsOf(trailerFields(rawTrailers)));
}

/** Whether the client keeps trailers (RFC 9110 §10.1.4). */
export function acceptsTrailers({ headers: { te } }: ClientRequest): boolean {
  return te !== undefined && /(?:^|,)\s*trailers\s*(?:,|$)/i.test(String(te));
}

const RESET_CONTENT = 205;

/** A 205 has no content, and says so (RFC 9110 §15.3.6). */
function withoutContent(fields: RawFields): void {
  const place = fields.findIndex((name, index) => index % 2 === 0 && name.toLowerCase() === "content-length");
  if (place === -1) fields.push("content-length", "0");
  else fields[place + 1] = "0";
}

/** Whether what comes behind a head is content that the client is not to see. */
export function hasNoContent(statusCode: number): boolean {
  return statusCode === RESET_CONTENT;
}

/** Node.js refuses to send some characters that it can receive, and a reason phrase means nothing (RFC 9112 §4). */
function reasonPhraseOf(statusCode: number, received: string): string {
  return /^[\t\x20-\x7e\x80-\xff]+$/.test(received) ? received : (http.STATUS_CODES[statusCode] ?? "");
}

function lowerCaseNames(fields: RawFields): RawFields {
  return fields.map((text, index) => (index % 2 === 0 ? text.toLowerCase() : text));
}

function interimHeaders(statusCode: number, fields: RawFields): Record<string, string | string[] | number> {
  return { ":status": statusCode, ...objectOf(fields) };
}

/** A field that comes more than once has all its values. */
function objectOf(fields: RawFields): Record<string, string[]> {
  const values: Record<string, string[]> = Object.create(null);
  for (let i = 0; i < fields.length; i += 2) {
    const name = (fields[i] as string).toLowerCase();
    values[name] ??= [];
    values[name].push(fields[i + 1] as string);
  }
  return values;
}

function pairsOf(fields: RawFields): [string, string][] {
  const pairs: [string, string][] = [];
  for (let i = 0; i < fields.length; i += 2) pairs.push([fields[i] as string, fields[i + 1] as string]);
  return pairs;
}
