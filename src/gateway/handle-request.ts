import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { reasonOf } from "../errors.ts";
import type { Tokens } from "../issuer/tokens.ts";
import { matchPolicy } from "../policy/match.ts";
import type { Policy, TokenSettings } from "../policy/policy.ts";
import { tokenRequestOf } from "../policy/token-request.ts";
import { sendContinue } from "./client-response.ts";
import { canonicalFieldName, upstreamRequestFields } from "./fields.ts";
import { hostOf, parseHost } from "./host.ts";
import type { IssuerEndpoints } from "./issuer-endpoints.ts";
import { hasBody } from "./message-body.ts";
import { answerProblem, type Refusal, type RequestProblem } from "./problem.ts";
import { formProblemOf } from "./request-form.ts";
import { type Ambiguity, parseTarget } from "./target.ts";
import type { Upstream } from "./upstream.ts";

/** What a request meets on its way. */
export interface RequestPathOptions {
  readonly tokens: Tokens;
  readonly issuerEndpoints: IssuerEndpoints;
  readonly policies: readonly Policy[];
  readonly upstream: Upstream;
  readonly preserveHost: boolean;
  readonly allowInPath: readonly Ambiguity[];
  /** Scheme, authority and path prefix that request URLs are built from; by default the request's own authority. */
  readonly publicUrl: string | undefined;
  /** The authority of the listener, for an HTTP/1.0 request that names no host. */
  readonly listenAuthority: string;
  /** Told of each request that failed for a reason that the operator should know. */
  readonly onFailure: (failure: RequestFailure) => void;
}

/** A request that was answered with an error that is not the client's own. */
export interface RequestFailure extends RequestProblem {
  readonly requestId: string;
  /** For the log only. */
  readonly cause: string;
}

/** Answers one request, in whatever way; it never throws. */
export type RequestHandler = (clientRequest: IncomingMessage, clientResponse: ServerResponse) => void;

/** Longer than most servers' limit for one field line. */
const MAX_TOKEN_BYTES = 8192;

/** Creates the function that takes each request through the stages, in order. */
export function createRequestHandler(options: RequestPathOptions): RequestHandler {
  const { tokens, issuerEndpoints, policies, upstream, preserveHost, allowInPath, onFailure } = options;
  const tokenFieldNames = new Set(
    policies.flatMap(({ token }) => (token === "none" ? [] : [canonicalFieldName(token.headerName)])),
  );

  return (clientRequest, clientResponse) => {
    const requestId = requestIdOf(clientRequest.headers["x-request-id"]);
    const refuse = (problem: RequestProblem) => answerProblem(clientResponse, problem, requestId);
    const fail = ({ code, detail }: RequestProblem, cause: string) => {
      refuse({ code, detail });
      onFailure({ code, detail, requestId, cause });
    };
    const failInside = (error: unknown) =>
      fail({ code: "ERR_INTERNAL", detail: "this sidecar failed; its log says why" }, reasonOf(error));
    try {
      handleRequest(clientRequest, clientResponse, { requestId, refuse, fail, failInside });
    } catch (error) {
      failInside(error);
    }
  };

  function handleRequest(clientRequest: IncomingMessage, clientResponse: ServerResponse, answers: Answers) {
    const { requestId, refuse, fail, failInside } = answers;
    const { rawHeaders, method = "", url = "", httpVersion } = clientRequest;

    // A form that Node.js lets through.
    const formProblem = formProblemOf(clientRequest);
    if (formProblem) return refuse(formProblem);

    // The target, and whom it is for.
    const parsed = parseTarget(url, allowInPath);
    if (parsed.kind === "refused") return refuse(parsed);
    const { originForm, decodedPath, lenientPath } = parsed.target;
    const host = parseHost(rawHeaders, httpVersion, parsed.target.authority);
    if (host.kind === "refused") return refuse(host);

    // The issuer's own documents.
    if (issuerEndpoints.owns(decodedPath) || issuerEndpoints.owns(lenientPath))
      return issuerEndpoints.answer(clientRequest, clientResponse, decodedPath, requestId);

    // Match a policy.
    const matchInput = { method, host: hostOf(host.authority), path: decodedPath };
    const policy = matchPolicy(policies, matchInput);
    if (lenientPath !== decodedPath && matchPolicy(policies, { ...matchInput, path: lenientPath }) !== policy)
      return refuse({
        code: "ERR_TARGET_AMBIGUOUS",
        detail: "the path may be read as one that another policy is for",
      });
    if (!policy) return refuse({ code: "ERR_NO_POLICY", detail: "no policy matches this request" });
    if (method === "TRACE" && policy.token !== "none")
      return refuse({ code: "ERR_METHOD_NOT_ALLOWED", detail: "TRACE would show the token to the client" });

    // Sanitise: strip, then remove every token field.
    const bodyFollows = hasBody(clientRequest);
    const fields = upstreamRequestFields(
      rawHeaders,
      {
        clientAddress: clientAddressOf(clientRequest),
        scheme: "http",
        authority: host.authority,
        httpVersion,
        requestId,
        preserveHost,
        hasBody: bodyFollows,
      },
      tokenFieldNames,
    );

    // Set the token field: at once where the token was made before, else when it is signed.
    if (policy.token === "none") return forward();
    const settings = policy.token;
    const requestUrl = () =>
      (options.publicUrl ?? `http://${host.authority ?? options.listenAuthority}`) + originForm;
    const token = tokenOf(settings, requestUrl);
    if (token instanceof Promise) token.then(setAndForward).catch(failInside);
    else setAndForward(token);

    function setAndForward(outcome: TokenOutcome) {
      if (outcome.kind === "refused") return fail(outcome, outcome.cause);
      fields.push(settings.headerName, fieldValueOf(settings, outcome.jwt));
      forward();
    }

    // Forward, and relay the response; unless the client left, or its message broke off, while the token was signed.
    function forward() {
      if (clientResponse.destroyed || clientResponse.headersSent) return;
      if (bodyFollows && expectsContinue(clientRequest)) sendContinue(clientResponse);
      upstream.forward(
        clientRequest,
        clientResponse,
        { method, target: originForm, fields, hasBody: bodyFollows },
        ({ problem, cause }) => fail(problem, reasonOf(cause)),
      );
    }
  }

  function tokenOf(settings: TokenSettings, requestUrl: () => string): TokenOutcome | Promise<TokenOutcome> {
    try {
      const token = tokens.tokenFor(tokenRequestOf(settings, requestUrl));
      return typeof token === "string" ? checkedToken(token) : token.then(checkedToken, unsigned);
    } catch (error) {
      return unsigned(error);
    }
  }
}

function unsigned(error: unknown): TokenOutcome {
  const detail = "the token for this request could not be signed";
  return { kind: "refused", code: "ERR_SIGNING_FAILED", detail, cause: reasonOf(error) };
}

function checkedToken(jwt: string): TokenOutcome {
  if (jwt.length <= MAX_TOKEN_BYTES) return { kind: "token", jwt };
  const detail = `the token for this request would have ${jwt.length} bytes; at most ${MAX_TOKEN_BYTES} are sent`;
  const cause = "a shorter URL, a fixed token.audience or fewer additionalClaims make it smaller";
  return { kind: "refused", code: "ERR_TOKEN_TOO_LARGE", detail, cause };
}

/** How one request is answered where it is not forwarded. */
interface Answers {
  readonly requestId: string;
  /** The client's own fault: answered, and that is all. */
  refuse(problem: RequestProblem): void;
  /** Not the client's fault: answered, and the operator is told. */
  fail(problem: RequestProblem, cause: string): void;
  /** Nobody's fault but Countersign's own. */
  failInside(error: unknown): void;
}

type TokenOutcome =
  | { readonly kind: "token"; readonly jwt: string }
  | (Refusal & {
      /** For the log only. */
      readonly cause: string;
    });

function fieldValueOf({ tokenPrefix }: TokenSettings, jwt: string): string {
  return tokenPrefix === "" ? jwt : `${tokenPrefix} ${jwt}`;
}

/** A client's own id where it is a plain token of at most 128 characters, else a new one. */
function requestIdOf(claimed: string | string[] | undefined): string {
  return typeof claimed === "string" && /^[\w.~+/=:@-]{1,128}$/.test(claimed) ? claimed : randomUUID();
}

/** Without the prefix that a socket for IPv4 and IPv6 puts before an IPv4 address (RFC 4291 §2.5.5.2). */
function clientAddressOf({ socket }: IncomingMessage): string {
  return (socket.remoteAddress ?? "unknown").replace(/^::ffff:/, "");
}

/** An HTTP/1.0 client knows no interim responses (RFC 9110 §10.1.1). */
function expectsContinue({ headers, httpVersion }: IncomingMessage): boolean {
  return headers.expect?.toLowerCase() === "100-continue" && httpVersion === "1.1";
}
