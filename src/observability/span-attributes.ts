import type { Attributes } from "@opentelemetry/api";
import { decodeProtectedHeader } from "jose";
import { statusByCode } from "../errors.ts";
import type { ClientRequest } from "../gateway/client/client-message.ts";
import { connectionSchemeOf } from "../gateway/client/peer.ts";
import { hostOf, isAuthority } from "../gateway/host.ts";
import type { RequestRecord } from "../gateway/request-record.ts";

/** What a span says of something that has ended. */
export interface SpanResult {
  /** By the names of the semantic conventions, and our own beginning with `countersign.` */
  readonly attributes: Attributes;
  readonly isError: boolean;
}

/** Others are anybody's invention: their number has no bound. */
const METHODS = new Set("CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT QUERY TRACE".split(" "));

/** The first word of a request's name. */
export function nameOf({ method = "" }: ClientRequest): string {
  return METHODS.has(method) ? method : "HTTP";
}

/** What is known of a request when it comes: nothing of its query and its fields, as they may hold secrets. */
export function receivedAttributes(clientRequest: ClientRequest): Attributes {
  const { method = "", url = "", httpVersion, headers } = clientRequest;
  const isKnown = METHODS.has(method);
  const authority = headers[":authority"] ?? headers.host;
  // An absolute form names a host, and perhaps a user and a password.
  const path = url.startsWith("/") ? url.replace(/[?#].*$/s, "") : undefined;
  return {
    "http.request.method": isKnown ? method : "_OTHER",
    ...(!isKnown && { "http.request.method_original": method }),
    "url.scheme": connectionSchemeOf(clientRequest),
    ...(path !== undefined && { "url.path": path }),
    "network.protocol.version": httpVersion === "2.0" ? "2" : httpVersion,
    ...(typeof authority === "string" && isAuthority(authority) && { "server.address": hostOf(authority) }),
  };
}

/** What became of a request, as its client saw it. A refusal is no error of this side. */
export function requestResult({ policy, requestId, status, code }: RequestRecord): SpanResult {
  const isError = (status ?? 0) >= 500 || (code !== undefined && statusByCode[code] >= 500);
  const errorType = code ?? (isError ? String(status) : undefined);
  const route = policy?.match.path?.source;
  return {
    isError,
    attributes: {
      "countersign.request_id": requestId,
      ...(policy && { "countersign.policy": policy.name }),
      ...(route !== undefined && { "http.route": route }),
      ...(status !== undefined && { "http.response.status_code": status }),
      ...(errorType !== undefined && { "error.type": errorType }),
    },
  };
}

/** What became of the token; its key is named, and nothing that it says. */
export function tokenResult({ tokenRequest, jwt, code }: RequestRecord): SpanResult {
  const isError = jwt === undefined;
  const kid = isError ? undefined : decodeProtectedHeader(jwt).kid;
  return {
    isError,
    attributes: {
      ...(tokenRequest && { "countersign.token.algorithm": tokenRequest.algorithm }),
      ...(kid !== undefined && { "countersign.token.kid": kid }),
      ...(isError && { "error.type": code ?? "_OTHER" }),
    },
  };
}

/** What became of a request at the backend: whoever asks is the client there, to whom a 4xx is an error too. */
export function upstreamResult({
  clientRequest,
  upstream = "",
  upstreamStatus,
  code,
}: RequestRecord): SpanResult {
  const { method = "" } = clientRequest;
  const errorType = (upstreamStatus ?? 0) >= 400 ? String(upstreamStatus) : code;
  return {
    isError: errorType !== undefined,
    attributes: {
      "http.request.method": METHODS.has(method) ? method : "_OTHER",
      ...addressOf(upstream),
      ...(upstreamStatus !== undefined && { "http.response.status_code": upstreamStatus }),
      ...(errorType !== undefined && { "error.type": errorType }),
    },
  };
}

/** @param upstream an origin, or `unix:` and the path of a socket */
function addressOf(upstream: string): Attributes {
  if (upstream.startsWith("unix:")) return { "server.address": upstream.slice("unix:".length) };
  const { hostname, port, protocol } = new URL(upstream);
  return { "server.address": hostname, "server.port": Number(port) || (protocol === "https:" ? 443 : 80) };
}
