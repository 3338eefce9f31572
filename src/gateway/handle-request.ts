import { reasonOf } from "../errors.ts";
import type { Answers, SendProblem } from "./answers.ts";
import type { ClientRequest, ClientResponse } from "./client/client-message.ts";
import { isGone, sendContinue } from "./client/client-response.ts";
import { expectsContinue, hasBody } from "./client/message-body.ts";
import { connectionSchemeOf, peerOf } from "./client/peer.ts";
import { receivedFieldsOf } from "./client/received-fields.ts";
import type { Decider } from "./decide.ts";
import type { Decision, Passage } from "./decision.ts";
import type { IssuerEndpoints } from "./issuer-endpoints.ts";
import type { Limits } from "./limits.ts";
import type { ConnectionLimit } from "./listen/connection-limit.ts";
import { answerProblem, type RequestProblem } from "./problem.ts";
import type { RequestFailure } from "./request-failure.ts";
import { formProblemOf } from "./request-form.ts";
import { requestIdOf } from "./request-id.ts";
import { type RequestObserver, RequestRecord, type RequestTracer } from "./request-record.ts";
import { answerOptions } from "./server-options.ts";
import type { UpstreamFailure } from "./upstream/upstream-failure.ts";
import type { WebSocketHandshake } from "./websocket/websocket-handshake.ts";

/** What a request meets on its way. */
export interface RequestPathOptions {
  /** Takes it through the stages up to where it is forwarded. */
  readonly decide: Decider;
  readonly issuerEndpoints: IssuerEndpoints;
  readonly connectionLimit: ConnectionLimit;
  readonly limits: Limits;
  /** Told of each request that failed for a reason that the operator should know. */
  readonly onFailure: (failure: RequestFailure) => void;
  readonly onEnd: RequestObserver;
  /** `undefined`: traces are off. */
  readonly tracer?: RequestTracer | undefined;
}

/** Answer one request each, in whatever way; they never throw. */
export interface RequestHandlers {
  request(clientRequest: ClientRequest, clientResponse: ClientResponse): void;
  /** One for a WebSocket. */
  upgrade(handshake: WebSocketHandshake): void;
  /** Resolves when nothing is under way: every response has ended, and every tunnel. */
  idle(): Promise<void>;
}

/** Creates the functions that answer each request: it is decided about, then forwarded or refused. */
export function createRequestHandlers(options: RequestPathOptions): RequestHandlers {
  const { decide, issuerEndpoints, connectionLimit, limits, onFailure, onEnd, tracer } = options;
  let underWay = 0;
  let onIdle: (() => void) | undefined;

  function end(record: RequestRecord, clientResponse: ClientResponse): void {
    record.endedAt = performance.now();
    if (record.isTunnel) {
      const { bytesRead, bytesWritten } = record.clientRequest.socket;
      Object.assign(record, { status: 101, receivedBytes: bytesRead, relayedBytes: bytesWritten });
    } else if (clientResponse.headersSent) record.status = clientResponse.statusCode;
    record.isComplete = record.isTunnel || clientResponse.writableFinished;
    underWay--;
    if (underWay === 0) onIdle?.();
    record.trace?.ended();
    onEnd(record);
  }

  return {
    request: (clientRequest, clientResponse) => answer(clientRequest, clientResponse, undefined),
    upgrade: (handshake) => answer(handshake.clientRequest, handshake.clientResponse, handshake),
    async idle() {
      if (underWay === 0) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      onIdle = resolve;
      await promise;
    },
  };

  function answer(
    clientRequest: ClientRequest,
    clientResponse: ClientResponse,
    handshake: WebSocketHandshake | undefined,
  ) {
    // It has waited for the sidecar to start, or to drain, and its client has not.
    if (isGone(clientResponse)) return;
    underWay++;
    const requestId = requestIdOf(clientRequest.headers["x-request-id"]);
    const record = new RequestRecord(clientRequest, requestId);
    if (tracer) record.trace = tracer(record);
    // A tunnel ends with its connection, long after the response. Either closes once: `once` would only cost more.
    (handshake ? clientRequest.socket : clientResponse).on("close", () => end(record, clientResponse));
    const refuse = (problem: RequestProblem, send: SendProblem = answerProblem) => {
      record.code = problem.code;
      send(clientResponse, problem, requestId);
    };
    const fail = (problem: RequestProblem, cause: string, send?: SendProblem) => {
      record.cause = cause;
      refuse(problem, send);
      const isLate = record.endedAt !== undefined;
      onFailure({ code: problem.code, detail: problem.detail, requestId, cause, isLate });
    };
    const failInside = (error: unknown) =>
      fail({ code: "ERR_INTERNAL", detail: "this sidecar failed; its log says why" }, reasonOf(error));
    try {
      handleRequest(clientRequest, clientResponse, handshake, record, { refuse, fail, failInside });
    } catch (error) {
      failInside(error);
    }
  }

  function handleRequest(
    clientRequest: ClientRequest,
    clientResponse: ClientResponse,
    handshake: WebSocketHandshake | undefined,
    record: RequestRecord,
    answers: Answers,
  ) {
    const { refuse, fail, failInside } = answers;
    const { requestId } = record;
    const { method = "", url = "", httpVersion } = clientRequest;

    // A form that Node.js lets through.
    const formProblem = formProblemOf(clientRequest, limits);
    if (formProblem) return refuse(formProblem);
    const rawFields = receivedFieldsOf(clientRequest);
    if (!Array.isArray(rawFields)) return refuse(rawFields);

    const peer = peerOf(clientRequest);
    record.clientAddress = peer.address;
    const bodyFollows = hasBody(clientRequest);
    const decision = decide(
      {
        method,
        requestTarget: url,
        httpVersion,
        rawFields,
        hasBody: bodyFollows,
        requestId,
        peer,
        isBeyondLimit: connectionLimit.isBeyond(clientRequest),
        scheme: connectionSchemeOf(clientRequest),
      },
      record,
    );
    if (decision instanceof Promise) decision.then(carryOut).catch(failInside);
    else carryOut(decision);

    function carryOut(decided: Decision) {
      if (decided.kind === "forward") return forward(decided);
      if (decided.kind === "issuer")
        return issuerEndpoints.answer(clientRequest, clientResponse, decided.path, record, answers);
      if (decided.kind === "options") return answerOptions(clientResponse);
      if (decided.cause === undefined) return refuse(decided);
      return fail(decided, decided.cause);
    }

    // Forward, and relay the response, or let the bytes of a WebSocket pass; unless the client left, or its message broke
    // off, while it was decided.
    function forward({ route, target, fields }: Passage) {
      if (isGone(clientResponse) || clientResponse.headersSent) return;
      record.upstream = route.upstream.name;
      record.trace?.forwarded(fields);
      if (handshake) return route.upstream.tunnel(handshake, { target, fields, record }, failUpstream);
      if (bodyFollows && expectsContinue(clientRequest)) sendContinue(clientResponse);
      route.upstream.forward(
        clientRequest,
        clientResponse,
        { method, target, fields, hasBody: bodyFollows, maxBodyBytes: limits.bodyBytes, record },
        failUpstream,
      );
    }

    function failUpstream({ problem, cause }: UpstreamFailure) {
      if (problem.code === "ERR_BODY_TOO_LARGE") refuse(problem);
      else fail(problem, reasonOf(cause));
    }
  }
}
