import { createHash } from "node:crypto";
import type { Issuer, JwkSet } from "../issuer/issuer.ts";
import { KeyError } from "../issuer/keys/key-error.ts";
import type { Answers } from "./answers.ts";
import type { ClientRequest, ClientResponse } from "./client/client-message.ts";
import { announceEnd, beginResponse, endResponse, writePiece } from "./client/client-response.ts";
import { hasUnreadBody } from "./client/message-body.ts";
import type { RequestRecord } from "./request-record.ts";
import type { TokenEndpoint } from "./token-endpoint/token-endpoint.ts";

/** Answers requests for the issuer's own documents, and for tokens. */
export interface IssuerEndpoints {
  answer(
    clientRequest: ClientRequest,
    clientResponse: ClientResponse,
    decodedPath: string,
    record: RequestRecord,
    answers: Answers,
  ): void;
}

/** A document that is ready to send. */
export interface IssuerDocument {
  readonly body: string;
  readonly etag: string;
}

/** Whether a path is the issuer's: it is answered here, and never forwarded. */
export function issuerPathTest(basePath: string): (decodedPath: string) => boolean {
  const oauthMetadataPath = oauthMetadataPathOf(basePath);
  return (path) => path === basePath || path.startsWith(`${basePath}/`) || path === oauthMetadataPath;
}

/**
 * Where the metadata of an issuer stands on its host (RFC 8414 §3.1).
 *
 * @param basePath the path of the issuer; "" where it has none
 */
export function oauthMetadataPathOf(basePath: string): string {
  return `/.well-known/oauth-authorization-server${basePath}`;
}

/**
 * Serves OpenID Connect discovery, the same by RFC 8414 §3.1, the JWK Set, and the token endpoint where there is one.
 *
 * @param basePath the path that the endpoints stand under, such as `/__issuer`
 */
export function createIssuerEndpoints(
  issuer: Issuer,
  basePath: string,
  tokenEndpoint?: TokenEndpoint,
): IssuerEndpoints {
  const tokenPath = tokenEndpoint && `${basePath}/token`;
  const metadata = () => lastingDocumentOf(issuer.metadata());
  const documents = new Map<string, (query: URLSearchParams) => IssuerDocument>([
    [`${basePath}/.well-known/openid-configuration`, metadata],
    [oauthMetadataPathOf(basePath), metadata],
    [`${basePath}/.well-known/jwks.json`, (query) => jwksDocument(issuer.jwks(), query.getAll("alg"))],
  ]);
  const cacheControl = `public, max-age=${issuer.jwksMaxAgeSeconds}`;

  return {
    answer(clientRequest, clientResponse, path, record, answers) {
      if (tokenEndpoint && path === tokenPath)
        return tokenEndpoint.answer(clientRequest, clientResponse, record, answers);
      const documentFor = documents.get(path);
      if (!documentFor) {
        const paths = [...documents.keys(), ...(tokenPath ? [tokenPath] : [])];
        const detail = `the issuer has no such document; it serves ${paths.join(", ")}`;
        return answers.refuse({ code: "ERR_ISSUER_PATH_UNKNOWN", detail });
      }
      const { method = "" } = clientRequest;
      // Nobody reads the body, so that what is wrong with it must not be answered behind this.
      if (hasUnreadBody(clientRequest)) announceEnd(clientResponse);
      if (method === "OPTIONS") return answerPreflight(clientResponse);
      if (method !== "GET" && method !== "HEAD") {
        const detail = "the issuer's documents are read with GET or HEAD";
        const fields = { allow: ALLOWED_METHODS };
        return answers.refuse({ code: "ERR_METHOD_NOT_ALLOWED", detail, fields });
      }
      let document: IssuerDocument;
      try {
        document = documentFor(queryOf(clientRequest));
      } catch (error) {
        if (!(error instanceof KeyError)) throw error;
        const detail = "the keys of this replica may be old ones; ask again, and another one may answer";
        return answers.fail({ code: "ERR_KEYS_WITHHELD", detail, fields: ASK_AGAIN }, error.message);
      }
      const fields = {
        etag: document.etag,
        "cache-control": cacheControl,
        "access-control-allow-origin": "*",
      };
      if (matchesEtag(clientRequest.headers["if-none-match"], document.etag)) {
        beginResponse(clientResponse, 304, fields);
        endResponse(clientResponse);
        return;
      }
      beginResponse(clientResponse, 200, {
        ...fields,
        "content-type": "application/json",
        "content-length": Buffer.byteLength(document.body),
      });
      if (method !== "HEAD") writePiece(clientResponse, document.body);
      endResponse(clientResponse);
    },
  };
}

/** Another replica may know better, and this one in a moment. */
const ASK_AGAIN = { "retry-after": "5", "access-control-allow-origin": "*" };

const ALLOWED_METHODS = "GET, HEAD, OPTIONS";

/** Of objects that stay the same for as long as what they say. */
const documentByValue = new WeakMap<object, IssuerDocument>();

function lastingDocumentOf(value: object): IssuerDocument {
  const document = documentByValue.get(value) ?? documentOf(value);
  documentByValue.set(value, document);
  return document;
}

/** What is sent of a value, and its entity tag. */
export function documentOf(value: object): IssuerDocument {
  const body = `${JSON.stringify(value)}\n`;
  return { body, etag: `"${createHash("sha256").update(body).digest("base64url")}"` };
}

function queryOf({ url = "" }: ClientRequest): URLSearchParams {
  const start = url.indexOf("?");
  return new URLSearchParams(start === -1 ? "" : url.slice(start + 1));
}

/** The JWK Set, or only its keys for some algorithms: for verifiers that cannot read the other kinds. */
function jwksDocument(jwks: JwkSet, algorithms: readonly string[]): IssuerDocument {
  if (algorithms.length === 0) return lastingDocumentOf(jwks);
  return documentOf({ keys: jwks.keys.filter(({ alg }) => algorithms.includes(alg)) });
}

/** A browser asks first where the page sends `If-None-Match` or another field of its own (Fetch §3.2). */
function answerPreflight(clientResponse: ClientResponse): void {
  beginResponse(clientResponse, 204, {
    allow: ALLOWED_METHODS,
    "access-control-allow-origin": "*",
    "access-control-allow-methods": ALLOWED_METHODS,
    "access-control-allow-headers": "*",
    "access-control-max-age": "86400",
  });
  endResponse(clientResponse);
}

/** RFC 9110 §13.1.2: the weak comparison, over a list or `*`. */
function matchesEtag(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false;
  return ifNoneMatch.split(",").some((candidate) => {
    const value = candidate.trim();
    return value === "*" || value.replace(/^W\//, "") === etag;
  });
}
