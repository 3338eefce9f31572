import type { RequestRecord } from "../gateway/request-record.ts";
import type { TokenRequest } from "../issuer/claims-set.ts";
import { isoTime } from "./iso-time.ts";
import { printableJson } from "./printable.ts";
import type { SubjectMark } from "./subject-mark.ts";
import { decodedPart } from "./token-part.ts";

/** How weighty the end of a request is. */
export type RequestLevel = "info" | "warn" | "error";

/** An answer that is an error is looked into by whoever runs this, where it is not the client's own. */
export function requestLevelOf({ status = 0, cause }: RequestRecord): RequestLevel {
  if (cause !== undefined || status >= 500) return "error";
  return status >= 400 ? "warn" : "info";
}

/** Whether a request went well, to its end. */
export function wentWell({ status = 0, cause, isComplete }: RequestRecord): boolean {
  return isComplete && status < 400 && cause === undefined;
}

/** Texts are as long as a client or an identity provider likes, and a line is to fit into what a pipe takes whole. */
const MAX_CHARACTERS = { path: 1024, subject: 256, why: 512, audience: 256 };

/** What JSON and a terminal take as it is. */
const PLAIN = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;

/** W3C Trace Context §3.2.2. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:$|-)/;

/**
 * The line of a request: one JSON object. Put together by hand, as it is written for every request; and member by member,
 * so that nothing gets into it that is not named here: no field, no query, no token.
 *
 * @param milliseconds now, since the epoch
 * @param markOf what stands for who called; `undefined`: nothing does
 * @param isDetailed whether it says what the token is for
 */
export function requestLine(
  record: RequestRecord,
  milliseconds: number,
  markOf: SubjectMark | undefined,
  isDetailed: boolean,
): string {
  const {
    clientRequest,
    authentication,
    upstream,
    receivedAt,
    authenticatedAt,
    tokenAt,
    upstreamRespondedAt,
  } = record;
  const endedAt = record.endedAt ?? receivedAt;
  const path = pathOf(clientRequest.url ?? "");
  const traceId = record.trace?.traceId ?? traceIdOf(clientRequest.headers.traceparent);
  // An id is a plain token, or one that was made here.
  let line = `{"level":"${requestLevelOf(record)}","time":"${isoTime(milliseconds)}","pid":${process.pid},"msg":"request","requestId":"${record.requestId}"`;
  if (traceId !== undefined) line += `,"traceId":"${traceId}"`;
  if (record.clientAddress !== undefined) line += `,"client":${quoted(record.clientAddress)}`;
  line += `,"method":${quotedWord(clientRequest.method ?? "")}`;
  if (path !== undefined) line += `,"path":${quoted(path)}`;
  line += `,"httpVersion":"${clientRequest.httpVersion}"`;
  if (record.policy) line += `,"policy":${quotedWord(record.policy.name)}`;
  if (authentication?.kind === "user") {
    line += `,"authenticator":${quotedWord(authentication.authenticator.name)}`;
    if (markOf) line += `,"subject":${quoted(cut(markOf(authentication.user.sub), MAX_CHARACTERS.subject))}`;
  } else if (authentication?.kind === "invalid")
    line += `,"authenticator":${quotedWord(authentication.authenticator.name)},"reason":${quoted(cut(authentication.reason, MAX_CHARACTERS.why))}`;
  if (markOf && record.oauthClient !== undefined)
    line += `,"oauthClient":${quoted(cut(markOf(record.oauthClient), MAX_CHARACTERS.subject))}`;
  if (record.status !== undefined) line += `,"status":${record.status}`;
  line += `,"outcome":"${record.isTunnel ? "tunnel" : record.isComplete ? "complete" : "aborted"}"`;
  if (record.code !== undefined) line += `,"code":"${record.code}"`;
  if (record.cause !== undefined) line += `,"cause":${quoted(cut(record.cause, MAX_CHARACTERS.why))}`;
  if (upstream !== undefined) line += `,"upstream":${quotedWord(upstream)}`;
  if (record.upstreamStatus !== undefined) line += `,"upstreamStatus":${record.upstreamStatus}`;
  line += `,"durationMs":${decimal(endedAt - receivedAt)}`;
  if (authenticatedAt !== undefined) {
    line += `,"authenticationMs":${decimal(authenticatedAt - receivedAt)}`;
    if (tokenAt !== undefined) line += `,"tokenMs":${decimal(tokenAt - authenticatedAt)}`;
  }
  if (upstreamRespondedAt !== undefined)
    line += `,"upstreamMs":${decimal(upstreamRespondedAt - (record.forwardedAt ?? receivedAt))},"relayMs":${decimal(endedAt - upstreamRespondedAt)}`;
  line += `,"bytesIn":${record.receivedBytes},"bytesOut":${record.relayedBytes}`;
  const { jwt, tokenRequest } = record;
  if (jwt !== undefined) line += tokenMembers(jwt, tokenRequest?.tokenId === true);
  if (jwt !== undefined && isDetailed && tokenRequest) line += detailMembers(tokenRequest);
  return `${line}}\n`;
}

function traceIdOf(traceparent: string | string[] | undefined): string | undefined {
  return typeof traceparent === "string" ? TRACEPARENT.exec(traceparent)?.[1] : undefined;
}

/** Without the query and whatever else may hold a credential, such as user information before the host. */
function pathOf(target: string): string | undefined {
  const path = target.startsWith("/") ? target : target.replace(/^[a-z][a-z\d+.-]*:\/\/[^/?#]*/i, "");
  // Of another form nothing is known: it may be anything.
  if (!path.startsWith("/")) return target === "*" ? target : undefined;
  const end = path.search(/[?#]/);
  return cut(end === -1 ? path : path.slice(0, end), MAX_CHARACTERS.path);
}

function cut(text: string, maxCharacters: number): string {
  return text.length <= maxCharacters ? text : `${text.slice(0, maxCharacters)}…`;
}

/** The header of the last token, with its full stop, and what is said of it: most tokens have the same. */
let lastHeader = "none";
let lastKid = "";

/** What identifies a token and lets nobody use it. */
function tokenMembers(jwt: string, hasTokenId: boolean): string {
  // A slice is no copy, and to compare it costs a third of `startsWith`.
  if (jwt.slice(0, lastHeader.length) !== lastHeader) {
    lastHeader = jwt.slice(0, jwt.indexOf(".") + 1);
    lastKid = `,"kid":${quoted(String(decodedPart(lastHeader).kid))}`;
  }
  if (!hasTokenId) return lastKid;
  return `${lastKid},"jti":${quoted(String(decodedPart(jwt.slice(lastHeader.length, jwt.lastIndexOf("."))).jti))}`;
}

/** What the token says, for whoever looks for why a backend refuses it. Of claims only the names. */
function detailMembers({ audience, lifetimeSeconds, algorithm, additionalClaims }: TokenRequest): string {
  const details = {
    algorithm,
    audience: typeof audience === "object" ? audience.map(withoutQuery) : audience && withoutQuery(audience),
    lifetimeSeconds,
    claims: Object.keys(additionalClaims),
  };
  return `,${printableJson(details).slice(1, -1)}`;
}

/** The URL of a request may be the audience, and its query may hold a credential. */
function withoutQuery(audience: string): string {
  return cut(audience.replace(/[?#].*/s, "?…"), MAX_CHARACTERS.audience);
}

/** Words that come again and again, by what they are in JSON. */
const jsonByWord = new Map<string, string>();
const MAX_WORDS = 1000;

/** Like {@link quoted}, for words of the configuration, and for methods. */
function quotedWord(word: string): string {
  const known = jsonByWord.get(word);
  if (known !== undefined) return known;
  // Clients make methods up.
  if (jsonByWord.size >= MAX_WORDS) jsonByWord.clear();
  const json = quoted(word);
  jsonByWord.set(word, json);
  return json;
}

function quoted(text: string): string {
  return PLAIN.test(text) ? `"${text}"` : printableJson(text);
}

/** Each number below 1000 in three digits. */
const THREE_DIGITS = Array.from({ length: 1000 }, (_, number) => String(number).padStart(3, "0"));

/** To the microsecond. Numbers that are whole are written out several times as fast as others. */
function decimal(milliseconds: number): string {
  const microseconds = Math.max(0, Math.round(milliseconds * 1000));
  const part = microseconds % 1000;
  return `${(microseconds - part) / 1000}.${THREE_DIGITS[part]}`;
}
