import type { Claims, JsonValue } from "../../issuer/claims-set.ts";
import { type Authentication, firstUser } from "../../policy/authenticate.ts";
import type { Authenticator } from "../../policy/authenticators/authenticator.ts";
import { scopesOf } from "../../policy/scopes.ts";
import type { User } from "../../policy/user.ts";
import { authenticationUnavailable } from "../credential.ts";
import type { Refused } from "../decision.ts";
import type { RequestRecord } from "../request-record.ts";
import { actingParty, type Party } from "./actor.ts";
import { type Client, clientIdOf } from "./client.ts";
import type { Form } from "./form.ts";
import { invalidRequest } from "./refusals.ts";

/** RFC 6749 §4.4. */
export const CLIENT_CREDENTIALS = "client_credentials";
/** RFC 8693 §2.1. */
export const TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";

/** What a client may have a token for. */
export interface Grant {
  readonly kind: "grant";
  /** Whom the token is about. */
  readonly user: User;
  readonly clientId: string;
  /** The `act` claim (RFC 8693 §4.1); `undefined`: nobody acts for the user. */
  readonly act: JsonValue | undefined;
  /** The scopes that the token may have. */
  readonly scopes: readonly string[];
  /** The NumericDate at which the token ends at the latest, and which is to come; `undefined`: there is none. */
  readonly expiresBy: number | undefined;
  /** What the answer says of the token (RFC 8693 §2.2.1); `undefined` where it says nothing. */
  readonly issuedTokenType: string | undefined;
}

/** RFC 6749 §4.4: the client asks for itself. */
export function clientCredentialsGrant(client: Client): Grant | Refused {
  if (client.kind === "public") return PUBLIC_CLIENT;
  const { user } = client;
  return {
    kind: "grant",
    user,
    clientId: user.sub,
    act: undefined,
    scopes: scopesOf(user.claims),
    expiresBy: undefined,
    issuedTokenType: undefined,
  };
}

/** RFC 8693 §3, as far as a JWT can be one. */
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
const JWT = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token";
const READABLE: readonly (string | undefined)[] = [ACCESS_TOKEN, JWT, ID_TOKEN];
const ISSUABLE = [ACCESS_TOKEN, JWT];

/** What {@link tokenExchangeGrant} needs beside the request. */
export interface ExchangeSurroundings {
  /** Those that know tokens, in the order in which they are asked. */
  readonly authenticators: readonly Authenticator[];
  /** The URL of this issuer, to which clients belong. */
  readonly issuer: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/**
 * RFC 8693 §2.1: the client asks for somebody whose token it has.
 *
 * @param record is told what the tokens came to
 */
export async function tokenExchangeGrant(
  form: Form,
  client: Client,
  record: Pick<RequestRecord, "authentication">,
  { authenticators, issuer, now }: ExchangeSurroundings,
): Promise<Grant | Refused> {
  const problem = exchangeProblemOf(form);
  if (problem !== undefined) return invalidRequest(problem);
  const [requestedType = ACCESS_TOKEN] = form.get("requested_token_type") ?? [];

  const subject = await holderOf(form, "subject_token", record, authenticators);
  if (subject.kind === "refused") return subject;
  const actor = form.has("actor_token")
    ? await holderOf(form, "actor_token", record, authenticators)
    : undefined;
  if (actor?.kind === "refused") return actor;
  // Its subject may be anybody whose token was exchanged here: a client of this issuer shows its secret.
  if (actor?.user.claims.iss === issuer) return invalidRequest("the actor_token is one of this issuer");
  record.authentication = subject;

  const party = partyOf(client, actor?.user, issuer);
  const acting = actingParty(subject.user.claims, party, issuer);
  if (acting.kind === "refused") return invalidRequest(acting.detail);
  const expiresBy = Math.floor(Number(subject.user.claims.exp));
  if (!(expiresBy > Math.floor(now() / 1000))) return invalidRequest("the subject_token has expired");
  const held = scopesOf(subject.user.claims);
  return {
    kind: "grant",
    user: subject.user,
    clientId: clientIdOf(client),
    act: acting.act,
    scopes: client.kind === "public" ? held : withinLimits(held, client.user.claims),
    expiresBy,
    issuedTokenType: requestedType,
  };
}

/** What is wrong with the parameters, whatever the tokens are. */
function exchangeProblemOf(form: Form): string | undefined {
  if (!form.has("subject_token")) return "the parameter subject_token is missing";
  const types = `of ${READABLE.join(", ")}`;
  if (!READABLE.includes(form.get("subject_token_type")?.[0]))
    return `the parameter subject_token_type has to be one ${types}`;
  if (form.has("actor_token") && !READABLE.includes(form.get("actor_token_type")?.[0]))
    return `with actor_token the parameter actor_token_type has to be one ${types}`;
  if (!form.has("actor_token") && form.has("actor_token_type"))
    return "there is an actor_token_type without an actor_token";
  const [requested = ACCESS_TOKEN] = form.get("requested_token_type") ?? [];
  return ISSUABLE.includes(requested)
    ? undefined
    : `tokens of this requested_token_type are not issued; those of ${ISSUABLE.join(" and ")} are`;
}

async function holderOf(
  form: Form,
  parameter: string,
  record: Pick<RequestRecord, "authentication">,
  authenticators: readonly Authenticator[],
): Promise<(Authentication & { kind: "user" }) | Refused> {
  const [token = ""] = form.get(parameter) ?? [];
  const authentication = await firstUser(authenticators, (authenticator) =>
    authenticator.checkToken?.(token),
  );
  record.authentication = authentication;
  switch (authentication.kind) {
    case "user":
      return authentication;
    case "unavailable":
      return authenticationUnavailable(authentication);
    case "invalid":
      return invalidRequest(`the ${parameter} is not good: ${authentication.reason}`);
    default:
      return invalidRequest(`the ${parameter} is not a token of an issuer that is trusted here`);
  }
}

/** Who acts for the user: who showed a token of its own for it, else the client that proved who it is. */
function partyOf(client: Client, actor: User | undefined, issuer: string): Party | undefined {
  if (actor) return { sub: actor.sub, iss: String(actor.claims.iss) };
  return client.kind === "confidential" ? { sub: client.user.sub, iss: issuer } : undefined;
}

/** A client that has scopes of its own passes on none beyond them. */
function withinLimits(scopes: readonly string[], clientClaims: Claims): readonly string[] {
  const isLimited = clientClaims.scope !== undefined || clientClaims.scp !== undefined;
  const limits = scopesOf(clientClaims);
  return isLimited ? scopes.filter((scope) => limits.includes(scope)) : scopes;
}

const PUBLIC_CLIENT: Refused = {
  kind: "refused",
  code: "ERR_OAUTH_UNAUTHORIZED_CLIENT",
  detail: "a client without a secret gets no token for itself",
};
