import type { Claims, TokenRequest } from "../../issuer/claims-set.ts";
import type { Tokens } from "../../issuer/tokens.ts";
import type { Authenticator } from "../../policy/authenticators/authenticator.ts";
import { evaluate, type TemplateContext } from "../../policy/template.ts";
import type { User } from "../../policy/user.ts";
import type { Answers } from "../answers.ts";
import type { ClientRequest, ClientResponse } from "../client/client-message.ts";
import { announceEnd, beginResponse, endResponse, isGone } from "../client/client-response.ts";
import { hasUnreadBody } from "../client/message-body.ts";
import { receivedFieldsOf } from "../client/received-fields.ts";
import type { Refused } from "../decision.ts";
import type { RequestRecord } from "../request-record.ts";
import { tokenFor } from "../request-token.ts";
import { answerJson, answerOAuthProblem } from "./answer.ts";
import type { Attempts } from "./attempts.ts";
import { authenticateClient, clientIdOf } from "./client.ts";
import { type Form, readForm } from "./form.ts";
import { CLIENT_CREDENTIALS, clientCredentialsGrant, tokenExchangeGrant } from "./grants.ts";
import { tokenEndpointMetadataOf } from "./metadata.ts";
import { scopeOf, targetOf } from "./narrowing.ts";
import type { TokenEndpointOptions } from "./options.ts";
import { invalidRequest } from "./refusals.ts";

/** The OAuth 2.0 token endpoint (RFC 6749 §3.2). */
export interface TokenEndpoint {
  /** Answers one request, in whatever way. */
  answer(
    clientRequest: ClientRequest,
    clientResponse: ClientResponse,
    record: RequestRecord,
    answers: Answers,
  ): void;
}

/** What {@link createTokenEndpoint} needs beside the options. */
export interface TokenEndpointSurroundings {
  /** The issuer's URL. */
  readonly issuer: string;
  readonly tokens: Tokens;
  /** By name; those that the options name are there. */
  readonly authenticators: ReadonlyMap<string, Authenticator>;
  readonly attempts: Attempts;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** What a client is given (RFC 6749 §5.1, RFC 8693 §2.2.1). */
interface TokenResponse {
  readonly kind: "response";
  readonly body: Readonly<Record<string, string | number>>;
}

/**
 * Creates the token endpoint: client credentials (RFC 6749 §4.4) and token exchange (RFC 8693), for access tokens that
 * are JWTs (RFC 9068).
 */
export function createTokenEndpoint(
  options: TokenEndpointOptions,
  { issuer, tokens, authenticators, attempts, now }: TokenEndpointSurroundings,
): TokenEndpoint {
  const { publicClients, audiences, lifetimeSeconds, algorithm, additionalClaims } = options;
  const named = (names: readonly string[]) => names.map((name) => authenticators.get(name) as Authenticator);
  const metadata = tokenEndpointMetadataOf(options);
  const clientRegistry = { authenticators: named(options.clients), publicClients, attempts };
  const exchangeSurroundings = { authenticators: named(options.tokens), issuer, now };
  // A page in a browser cannot keep a secret: only for clients without one may it read the answer.
  const corsFields: Readonly<Record<string, string>> =
    publicClients.length > 0 ? { "access-control-allow-origin": "*" } : {};

  const secondsUntil = (date = Number.POSITIVE_INFINITY) => date - Math.floor(now() / 1000);

  /** The token that is asked for, or why there is none. */
  async function respond(
    form: Form,
    rawFields: readonly string[],
    record: RequestRecord,
  ): Promise<TokenResponse | Refused> {
    const [grantType] = form.get("grant_type") ?? [];
    if (grantType === undefined) return NO_GRANT_TYPE;
    if (!metadata.grantTypes.includes(grantType)) return UNSUPPORTED_GRANT_TYPE;

    const client = await authenticateClient(form, rawFields, record, clientRegistry);
    if (client.kind === "refused") return client;
    record.oauthClient = clientIdOf(client);

    const grant =
      grantType === CLIENT_CREDENTIALS
        ? clientCredentialsGrant(client)
        : await tokenExchangeGrant(form, client, record, exchangeSurroundings);
    if (grant.kind === "refused") return grant;
    record.authenticatedAt = performance.now();

    const target = targetOf(form, audiences);
    if (target.kind === "refused") return target;
    const scopes = scopeOf(form, grant.scopes);
    if (scopes.kind === "refused") return scopes;
    const scope = scopes.value.length > 0 ? { scope: scopes.value.join(" ") } : {};

    const { expiresBy } = grant;
    const tokenRequest: TokenRequest = {
      subject: grant.user.sub,
      audience: target.value,
      lifetimeSeconds: Math.min(lifetimeSeconds, secondsUntil(expiresBy)),
      expiresBy,
      additionalClaims: {
        ...(evaluate(additionalClaims, contextOf(grant.user)) as Claims),
        client_id: grant.clientId,
        ...scope,
        ...(grant.act !== undefined && { act: grant.act }),
      },
      notBefore: false,
      // RFC 9068 §2.2.
      tokenId: true,
      reuse: false,
      algorithm,
      purpose: "token",
      type: "at+jwt",
    };
    const outcome = await tokenFor(tokens, tokenRequest);
    record.tokenRequest = tokenRequest;
    record.tokenAt = performance.now();
    // What makes it too long is what the client sent.
    if (outcome.kind === "refused")
      return outcome.code === "ERR_TOKEN_TOO_LARGE" ? invalidRequest(outcome.detail) : outcome;
    record.jwt = outcome.jwt;
    const { issuedTokenType } = grant;
    const body = {
      access_token: outcome.jwt,
      ...(issuedTokenType !== undefined && { issued_token_type: issuedTokenType }),
      token_type: "Bearer",
      expires_in: tokenRequest.lifetimeSeconds,
      ...scope,
    };
    return { kind: "response", body };
  }

  return {
    answer(clientRequest, clientResponse, record, answers) {
      const { method } = clientRequest;
      if (method === "OPTIONS") return answerPreflight(clientResponse, corsFields);
      if (method !== "POST") {
        const fields = { allow: ALLOWED_METHODS };
        return answers.refuse({
          code: "ERR_METHOD_NOT_ALLOWED",
          detail: "tokens are asked for with POST",
          fields,
        });
      }
      const rawFields = receivedFieldsOf(clientRequest);
      if (!Array.isArray(rawFields)) return answers.refuse(rawFields);
      readForm(clientRequest, clientResponse, record)
        .then(async (reading) => {
          if (reading.kind === "gone") return;
          const outcome =
            reading.kind === "form" ? await respond(reading.form, rawFields, record) : (reading as Refused);
          if (isGone(clientResponse)) return;
          if (outcome.kind === "response") return answerJson(clientResponse, 200, outcome.body, corsFields);
          const problem = { ...outcome, fields: { ...corsFields, ...outcome.fields } };
          if (outcome.cause === undefined) answers.refuse(problem, answerOAuthProblem);
          else answers.fail(problem, outcome.cause, answerOAuthProblem);
        })
        .catch(answers.failInside);
    },
  };
}

const ALLOWED_METHODS = "POST, OPTIONS";

/** Fetch §3.2.2. */
function answerPreflight(clientResponse: ClientResponse, corsFields: Readonly<Record<string, string>>): void {
  const permissions = {
    "access-control-allow-methods": "POST",
    "access-control-allow-headers": "authorization, content-type",
    "access-control-max-age": "86400",
  };
  const isOpen = "access-control-allow-origin" in corsFields;
  // Nobody reads the body, so that what is wrong with it must not be answered behind this.
  if (hasUnreadBody(clientResponse.req)) announceEnd(clientResponse);
  beginResponse(clientResponse, 204, { allow: ALLOWED_METHODS, ...corsFields, ...(isOpen && permissions) });
  endResponse(clientResponse);
}

/** What templates are looked up in: a token that is asked for here is about its user, and about no request. */
function contextOf(user: User): TemplateContext {
  const nothing = () => undefined;
  return { user, fact: nothing, param: nothing, header: nothing, query: nothing };
}

const NO_GRANT_TYPE = invalidRequest("the parameter grant_type is missing");
const UNSUPPORTED_GRANT_TYPE: Refused = {
  kind: "refused",
  code: "ERR_OAUTH_UNSUPPORTED_GRANT_TYPE",
  detail: "tokens are not given for this grant_type; the issuer's metadata says for which",
};
