import { isIP } from "node:net";
import { reasonOf } from "../errors.ts";
import type { ClientRequest, ClientResponse } from "../gateway/client/client-message.ts";
import { receivedFieldsOf } from "../gateway/client/received-fields.ts";
import { hostOf, parseHost } from "../gateway/host.ts";
import type { Limits } from "../gateway/limits.ts";
import { answerProblem, type RequestProblem } from "../gateway/problem.ts";
import { formProblemOf } from "../gateway/request-form.ts";
import type { Issuer } from "../issuer/issuer.ts";
import { type ConfigurationStatus, configurationBody } from "./configuration.ts";
import { answerIdentityToken } from "./identity-token.ts";
import { answerMetrics } from "./metrics.ts";
import { answerJson, answerLiveness, answerReadiness } from "./probes.ts";
import type { ReadinessSource } from "./readiness.ts";

/** What the operators' listener serves. */
export interface AdminOptions {
  /** That of the configuration in use; `undefined` before the sidecar answers requests. */
  readonly issuer: () => Issuer | undefined;
  readonly limits: Limits;
  /** What `/readyz` tells. */
  readonly readiness: ReadinessSource;
  /** What `/config` tells. */
  readonly configuration: () => ConfigurationStatus;
  /** What `/metrics` tells, in the text format of Prometheus. */
  readonly metrics: () => Promise<string>;
  /** The host name that the listener was opened with; `undefined` is every address of the machine. */
  readonly host: string | undefined;
}

/** Answers one request of the operators' listener, in whatever way; it never throws. */
export type AdminHandler = (clientRequest: ClientRequest, clientResponse: ClientResponse) => void;

/** One path of the operators' listener. */
interface Endpoint {
  readonly methods: readonly string[];
  answer(clientRequest: ClientRequest, clientResponse: ClientResponse, query: string): void;
}

/** Creates the function that answers every request of the operators' listener. */
export function createAdminHandler(options: AdminOptions): AdminHandler {
  const { issuer, limits, readiness, configuration, metrics, host } = options;
  const endpoints = new Map<string, Endpoint>([
    ["/livez", { methods: READING, answer: (_request, response) => answerLiveness(response) }],
    ["/readyz", { methods: READING, answer: (_request, response) => answerReadiness(response, readiness) }],
    ["/metrics", { methods: READING, answer: (_request, response) => void answerMetrics(response, metrics) }],
    [
      "/config",
      {
        methods: READING,
        answer: (_request, response) => answerJson(response, 200, configurationBody(configuration())),
      },
    ],
    [
      "/identity/token",
      {
        methods: ["GET"],
        answer(clientRequest, clientResponse, query) {
          const current = issuer();
          if (!current) return answerProblem(clientResponse, STARTING, undefined);
          void answerIdentityToken(current, clientRequest, clientResponse, new URLSearchParams(query));
        },
      },
    ],
  ]);

  return (clientRequest, clientResponse) => {
    const refuse = (problem: RequestProblem) => answerProblem(clientResponse, problem, undefined);

    const formProblem = formProblemOf(clientRequest, limits);
    if (formProblem) return refuse(formProblem);
    const rawFields = receivedFieldsOf(clientRequest);
    if (!Array.isArray(rawFields)) return refuse(rawFields);
    const parsedHost = parseHost(rawFields, clientRequest.httpVersion, undefined);
    if (parsedHost.kind === "refused") return refuse(parsedHost);
    if (!isLocalName(hostOf(parsedHost.authority), host))
      return refuse({
        code: "ERR_HOST_INVALID",
        detail: "this listener answers to localhost, to an IP address, and to the name that it listens on",
      });

    const { path, query } = targetOf(clientRequest.url);
    const endpoint = endpoints.get(path);
    if (!endpoint)
      return refuse({
        code: "ERR_ADMIN_PATH_UNKNOWN",
        detail: `this listener serves ${[...endpoints.keys()].join(", ")}`,
      });
    const { methods } = endpoint;
    if (!methods.includes(clientRequest.method ?? ""))
      return refuse({
        code: "ERR_METHOD_NOT_ALLOWED",
        detail: `${path} is read with ${methods.join(" or ")}`,
        fields: { allow: methods.join(", ") },
      });
    try {
      endpoint.answer(clientRequest, clientResponse, query);
    } catch (error) {
      // Whoever only asks how the sidecar is must not end it.
      process.emitWarning(`${path}: ${reasonOf(error)}`);
      refuse({ code: "ERR_INTERNAL", detail: "this sidecar failed; its log says why" });
    }
  };
}

const STARTING: RequestProblem = {
  code: "ERR_STARTING",
  detail: "this sidecar waits for its keys; /readyz says why",
};

const READING = ["GET", "HEAD"];

/** Path and query of a request target, byte for byte: a path that has to be read first is none of this listener's. */
function targetOf(target = ""): { readonly path: string; readonly query: string } {
  const queryStart = target.indexOf("?");
  return queryStart === -1
    ? { path: target, query: "" }
    : { path: target.slice(0, queryStart), query: target.slice(queryStart + 1) };
}

/** A page on the web can have its own name resolve to this machine; it cannot have that of an address (DNS rebinding). */
function isLocalName(name: string, listenHost: string | undefined): boolean {
  const isAddress = isIP(name.replace(/^\[(.*)\]$/, "$1")) !== 0;
  return isAddress || name === "" || name === "localhost" || name === listenHost?.toLowerCase();
}
