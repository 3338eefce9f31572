import { CountersignError, statusByCode } from "../errors.ts";
import type { ClientRequest, ClientResponse } from "../gateway/client/client-message.ts";
import { beginResponse, isGone, writePiece } from "../gateway/client/client-response.ts";
import { canonicalFieldName } from "../gateway/field-names.ts";
import { answerProblem, type RequestProblem } from "../gateway/problem.ts";
import type { Issuer } from "../issuer/issuer.ts";

/**
 * Answers with an ID token of this deployment: as text, or with `format=json` as `{id_token, expires_at}`.
 *
 * The guards are those of cloud metadata services. A page or a service that can be made to fetch a URL cannot be made to
 * add a field of its own to the request; and what a proxy passed on did not come from this machine.
 */
export async function answerIdentityToken(
  issuer: Issuer,
  clientRequest: ClientRequest,
  clientResponse: ClientResponse,
  query: URLSearchParams,
): Promise<void> {
  const problem = guard(clientRequest) ?? checkQuery(query);
  if (problem) return answerProblem(clientResponse, problem, undefined);
  let token: string;
  try {
    token = await issuer.getIdToken({ audience: query.get("audience") ?? undefined });
  } catch (error) {
    return answerProblem(clientResponse, problemOf(error), undefined);
  }
  if (isGone(clientResponse) || clientResponse.headersSent) return;
  const asJson = query.get("format") === "json";
  const body = asJson ? `${JSON.stringify({ id_token: token, expires_at: expiryOf(token) })}\n` : token;
  beginResponse(clientResponse, 200, {
    "content-type": asJson ? "application/json" : "text/plain; charset=utf-8",
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  writePiece(clientResponse, body);
  clientResponse.end();
}

function guard({ headers }: ClientRequest): RequestProblem | undefined {
  const forwarded = Object.keys(headers).find((name) =>
    /^(?:x-forwarded-.*|x-real-ip|forwarded|via)$/.test(canonicalFieldName(name)),
  );
  if (forwarded !== undefined)
    return refusal(`a request with ${forwarded} came through a proxy; ask from this machine, without one`);
  if (headers["x-countersign-identity"] !== "true")
    return refusal("send the field X-Countersign-Identity: true, which no web page can send by accident");
  return undefined;
}

function refusal(detail: string): RequestProblem {
  return { code: "ERR_IDENTITY_REQUEST_REFUSED", detail };
}

const MAX_AUDIENCE_LENGTH = 1024;
const PARAMETERS = ["audience", "format"];

function checkQuery(query: URLSearchParams): RequestProblem | undefined {
  const malformed = (detail: string): RequestProblem => ({ code: "ERR_REQUEST_MALFORMED", detail });
  for (const name of new Set(query.keys())) {
    if (!PARAMETERS.includes(name)) return malformed(`the parameters here are ${PARAMETERS.join(" and ")}`);
    if (query.getAll(name).length > 1) return malformed(`there is more than one parameter ${name}`);
  }
  if ((query.get("audience") ?? "").length > MAX_AUDIENCE_LENGTH)
    return malformed(`an audience has at most ${MAX_AUDIENCE_LENGTH} characters`);
  const format = query.get("format") ?? "text";
  return format === "text" || format === "json" ? undefined : malformed("format is text or json");
}

function problemOf(error: unknown): RequestProblem {
  if (error instanceof CountersignError && error.code in statusByCode)
    return { code: error.code as keyof typeof statusByCode, detail: error.message };
  if (error instanceof CountersignError && error.code === "ERR_IDENTITY_UNKNOWN")
    return { code: "ERR_ADMIN_PATH_UNKNOWN", detail: error.message };
  return { code: "ERR_SIGNING_FAILED", detail: "the token could not be signed" };
}

/** The `exp` claim, in seconds since the epoch. */
function expiryOf(token: string): number {
  const claims = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as {
    exp: number;
  };
  return claims.exp;
}
