import { type ResponseSequence, readResponses } from "../strict-http/responses.ts";
import type { Conversation } from "./conversation.ts";
import { BEHIND, type PlainRequest, type RawAnswer } from "./raw-responses.ts";
import { MARKER } from "./raw-targets.ts";

/** A request whose answer is generated, with its marker. */
export interface AnsweredRequest extends PlainRequest {
  readonly marker: string;
}

/** Writes the request; the last of a connection closes it, and so does every one of HTTP/1.0. */
export function requestBytes({ method, httpVersion, marker }: AnsweredRequest, isLast: boolean): string {
  const connection = isLast
    ? "Connection: close\r\n"
    : httpVersion === "1.0"
      ? "Connection: keep-alive\r\n"
      : "";
  const body = method === "POST" ? "Content-Length: 3\r\n\r\nabc" : "\r\n";
  return `${method} /${marker} HTTP/${httpVersion}\r\nHost: a\r\n${connection}${body}`;
}

/**
 * The pieces that the backend writes. What stands behind the answer comes with its last byte: nobody could tell it from the
 * answer to the next request if it came later.
 */
export function answerPieces({ bytes, behind, cuts }: RawAnswer, marker: string): string[] {
  const written = bytes.replaceAll(MARKER, marker);
  const cutAt = cuts.map((cut) => Math.floor(cut * written.length)).filter((at) => at < written.length);
  const offsets = [...new Set([0, ...cutAt])].sort((a, b) => a - b);
  const pieces = offsets.map((start, index) => written.slice(start, offsets[index + 1]));
  return [...pieces.slice(0, -1), pieces.at(-1) + behind.replaceAll(MARKER, marker)].filter(
    (piece) => piece !== "",
  );
}

/** What a strict reader makes of an answer, and how the backend's connection goes on behind it. */
export function readAnswer({ method, answer, marker }: AnsweredRequest): {
  readonly reading: ResponseSequence;
  readonly ending: RawAnswer["ending"];
} {
  // What Node.js's parser does not mind, and what does not go on: empty lines in front, any version, and any byte in a reason phrase.
  const written = answer.bytes
    .replaceAll(MARKER, marker)
    .replace(/^[\r\n]+/, "")
    .replace(/^HTTP\/\d\.\d (\d{3})(?: [^\r\n]*)?(?=\r\n)/, "HTTP/1.1 $1");
  const readUntil = (isClosed: boolean) =>
    readResponses(written, [{ method, httpVersion: "1.1" }], isClosed, false);
  const open = readUntil(false);
  if (answer.ending === "resets" || (answer.ending === "keeps" && open.responses.length > 0))
    return { reading: open, ending: answer.ending };
  // Whoever is kept waiting for the rest of an answer waits for a second.
  return { reading: readUntil(true), ending: "closes" };
}

/** How a client's requests were answered. */
export interface Relayed {
  /** What is wrong; empty where nothing is. */
  readonly objections: readonly string[];
  /** How many of the plain answers came as they were: not all, as the backend closes connections unsaid. */
  readonly plainAnswers: number;
}

/** Compares what a client got for its requests with what the backend answered. */
export function compareRelayed(requests: readonly AnsweredRequest[], conversation: Conversation): Relayed {
  const { received, end } = conversation;
  const { responses, brokenBecause, rest } = readResponses(received, requests, end === "closed");
  const objections: string[] = [];
  let plainAnswers = 0;
  if (brokenBecause !== undefined) objections.push(`no valid HTTP: ${brokenBecause}`);
  if (end === "left") objections.push("the connection stays open");
  if (responses.length > requests.length) objections.push("more answers than requests");

  for (const [index, request] of requests.entries()) {
    const response = responses[index];
    const shown = response ? JSON.stringify(response) : index === responses.length ? rest : "";
    const markers = new Set(shown.match(/m\d{6}[a-z]/g) ?? []);
    markers.delete(request.marker);
    if (markers.size > 0) objections.push(`the answer to ${request.marker} shows ${[...markers]}`);
    if (shown.includes(BEHIND.replace(MARKER, request.marker)))
      objections.push("what stood behind an answer is shown");
    if (!response) continue;

    const { reading } = readAnswer(request);
    const [meant] = reading.responses;
    const isProblem = response.status >= 500 && response.content.includes('"code":"ERR_UPSTREAM_');
    const isHeadless = request.method === "HEAD" && response.status === 502;
    if (isProblem || isHeadless) continue;
    if (!meant) {
      objections.push(`a ${reading.brokenBecause ?? "cut"} answer looks whole: ${shown.slice(0, 300)}`);
      continue;
    }
    if (response.status !== meant.status || response.content !== meant.content)
      objections.push(`${meant.status} with ${meant.content.length} bytes came as ${shown.slice(0, 300)}`);
    else if (request.answer.isPlain) plainAnswers++;
    // An HTTP/1.0 client knows none.
    const interim = request.httpVersion === "1.0" ? [] : meant.interim;
    if (response.interim.some((status) => !interim.includes(status)))
      objections.push(`interim responses ${response.interim} where the backend sent ${meant.interim}`);
  }
  return { objections, plainAnswers };
}
