import { isIP } from "node:net";
import type { ClientRequest, ClientResponse } from "../gateway/client-message.ts";
import { hostOf, parseHost } from "../gateway/host.ts";
import type { Limits } from "../gateway/limits.ts";
import { answerProblem, type RequestProblem } from "../gateway/problem.ts";
import { receivedFieldsOf } from "../gateway/received-fields.ts";
import { formProblemOf } from "../gateway/request-form.ts";
import type { Issuer } from "../issuer/issuer.ts";
import { answerIdentityToken } from "./identity-token.ts";

/** What the operators' listener serves. */
export interface AdminOptions {
  readonly issuer: Issuer;
  readonly limits: Limits;
  /** The host name that the listener was opened with; `undefined` is every address of the machine. */
  readonly host: string | undefined;
}

/** Answers one request of the operators' listener, in whatever way; it never throws. */
export type AdminHandler = (clientRequest: ClientRequest, clientResponse: ClientResponse) => void;

/** Creates the function that answers every request of the operators' listener. */
export function createAdminHandler({ issuer, limits, host }: AdminOptions): AdminHandler {
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
    if (path !== IDENTITY_TOKEN_PATH)
      return refuse({
        code: "ERR_ADMIN_PATH_UNKNOWN",
        detail: `this listener serves ${IDENTITY_TOKEN_PATH}`,
      });
    if (clientRequest.method !== "GET")
      return refuse({
        code: "ERR_METHOD_NOT_ALLOWED",
        detail: "an identity token is read with GET",
        fields: { allow: "GET" },
      });
    void answerIdentityToken(issuer, clientRequest, clientResponse, new URLSearchParams(query));
  };
}

const IDENTITY_TOKEN_PATH = "/identity/token";

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
