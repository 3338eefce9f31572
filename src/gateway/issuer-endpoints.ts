import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Issuer } from "../issuer/issuer.ts";
import { answerProblem } from "./problem.ts";

/** Answers requests for the issuer's own documents. */
export interface IssuerEndpoints {
  /** Whether this path is the issuer's: it is answered here, and never forwarded. */
  owns(decodedPath: string): boolean;
  answer(
    clientRequest: IncomingMessage,
    clientResponse: ServerResponse,
    decodedPath: string,
    requestId: string,
  ): void;
}

/** A document that is ready to send. */
interface IssuerDocument {
  readonly body: string;
  readonly etag: string;
}

/**
 * Serves OpenID Connect discovery, the same by RFC 8414 §3.1, and the JWK Set.
 *
 * @param basePath the path that the endpoints stand under, such as `/__issuer`
 */
export function createIssuerEndpoints(issuer: Issuer, basePath: string): IssuerEndpoints {
  const metadata = documentOf(issuer.metadata());
  const jwks = documentOf(issuer.jwks());
  const oauthMetadataPath = `/.well-known/oauth-authorization-server${basePath}`;
  const documents = new Map([
    [`${basePath}/.well-known/openid-configuration`, metadata],
    [oauthMetadataPath, metadata],
    [`${basePath}/.well-known/jwks.json`, jwks],
  ]);
  const cacheControl = `public, max-age=${issuer.jwksMaxAgeSeconds}`;

  return {
    owns: (path) => path === basePath || path.startsWith(`${basePath}/`) || path === oauthMetadataPath,

    answer(clientRequest, clientResponse, path, requestId) {
      const document = documents.get(path);
      if (!document) {
        const detail = `the issuer has no such document; it serves ${[...documents.keys()].join(", ")}`;
        return answerProblem(clientResponse, { code: "ERR_ISSUER_PATH_UNKNOWN", detail }, requestId);
      }
      const { method = "" } = clientRequest;
      if (method === "OPTIONS") return answerPreflight(clientResponse);
      if (method !== "GET" && method !== "HEAD") {
        const detail = "the issuer's documents are read with GET or HEAD";
        const allow = { allow: ALLOWED_METHODS };
        return answerProblem(clientResponse, { code: "ERR_METHOD_NOT_ALLOWED", detail }, requestId, allow);
      }
      const fields = {
        etag: document.etag,
        "cache-control": cacheControl,
        "access-control-allow-origin": "*",
      };
      if (matchesEtag(clientRequest.headers["if-none-match"], document.etag)) {
        clientResponse.writeHead(304, fields).end();
        return;
      }
      clientResponse.writeHead(200, {
        ...fields,
        "content-type": "application/json",
        "content-length": Buffer.byteLength(document.body),
      });
      clientResponse.end(method === "HEAD" ? undefined : document.body);
    },
  };
}

const ALLOWED_METHODS = "GET, HEAD, OPTIONS";

function documentOf(value: unknown): IssuerDocument {
  const body = `${JSON.stringify(value)}\n`;
  return { body, etag: `"${createHash("sha256").update(body).digest("base64url")}"` };
}

/** A browser asks first where the page sends `If-None-Match` or another field of its own (Fetch §3.2). */
function answerPreflight(clientResponse: ServerResponse): void {
  clientResponse.writeHead(204, {
    allow: ALLOWED_METHODS,
    "access-control-allow-origin": "*",
    "access-control-allow-methods": ALLOWED_METHODS,
    "access-control-allow-headers": "*",
    "access-control-max-age": "86400",
  });
  clientResponse.end();
}

/** RFC 9110 §13.1.2: the weak comparison, over a list or `*`. */
function matchesEtag(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false;
  return ifNoneMatch.split(",").some((candidate) => {
    const value = candidate.trim();
    return value === "*" || value.replace(/^W\//, "") === etag;
  });
}
