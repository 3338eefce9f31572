import { firstUser } from "../../policy/authenticate.ts";
import type { Authenticator } from "../../policy/authenticators/authenticator.ts";
import { REALM } from "../../policy/authenticators/authenticator.ts";
import { normalized, readBasicCredentials } from "../../policy/authenticators/basic-credentials.ts";
import { fieldValues } from "../../policy/caller-request.ts";
import type { User } from "../../policy/user.ts";
import { authenticationUnavailable } from "../credential.ts";
import type { Refused } from "../decision.ts";
import type { RequestRecord } from "../request-record.ts";
import type { Attempts } from "./attempts.ts";
import type { Form } from "./form.ts";
import { invalidRequest } from "./refusals.ts";

/** Who asks for a token. */
export type Client =
  /** It has proved who it is; its `client_id` is the subject. */
  | { readonly kind: "confidential"; readonly user: User }
  /** It has no secret, and is known by its `client_id` (RFC 6749 §2.1). */
  | { readonly kind: "public"; readonly clientId: string };

/** Its `client_id`. */
export function clientIdOf(client: Client): string {
  return client.kind === "public" ? client.clientId : client.user.sub;
}

/** What a client says of itself. */
type ClientCredentials =
  | { readonly kind: "secret"; readonly clientId: string; readonly clientSecret: string }
  | { readonly kind: "id"; readonly clientId: string };

/** What clients are known by. */
export interface ClientRegistry {
  /** In the order in which they are asked. */
  readonly authenticators: readonly Authenticator[];
  readonly publicClients: readonly string[];
  readonly attempts: Attempts;
}

/** A longer name is nobody's, and is not worth remembering. */
const MAX_CLIENT_ID_LENGTH = 256;

/**
 * Finds out which client asks, by `client_secret_basic`, `client_secret_post`, or `client_id` alone.
 *
 * @param record has the address of the client, and is told what its secret came to
 * @see RFC 6749 §2.3.1
 */
export async function authenticateClient(
  form: Form,
  rawFields: readonly string[],
  record: Pick<RequestRecord, "clientAddress" | "authentication">,
  registry: ClientRegistry,
): Promise<Client | Refused> {
  const { clientAddress: address = "" } = record;
  const credentials = clientCredentialsOf(form, rawFields);
  if (credentials.kind === "refused") return credentials;
  const { clientId } = credentials;
  if (clientId.length > MAX_CLIENT_ID_LENGTH) return UNKNOWN;
  if (credentials.kind === "id")
    return registry.publicClients.includes(clientId) ? { kind: "public", clientId } : NO_SECRET;

  const { attempts } = registry;
  const wait = attempts.waitSeconds(address, clientId);
  if (wait > 0) return tooManyAttempts(wait);
  const authentication = await firstUser(registry.authenticators, (authenticator) =>
    authenticator.checkSecret?.(clientId, credentials.clientSecret),
  );
  // Many may have been tried at once: nobody learns of one beyond those that are counted whether it was right.
  const waitNow = attempts.waitSeconds(address, clientId);
  if (waitNow > 0) return tooManyAttempts(waitNow);
  record.authentication = authentication;
  switch (authentication.kind) {
    case "user":
      return { kind: "confidential", user: authentication.user };
    case "unavailable":
      return authenticationUnavailable(authentication);
    default:
      attempts.failed(address, clientId);
      return UNKNOWN;
  }
}

function clientCredentialsOf(form: Form, rawFields: readonly string[]): ClientCredentials | Refused {
  const [clientId] = form.get("client_id") ?? [];
  const [clientSecret] = form.get("client_secret") ?? [];
  const [authorization, second] = fieldValues(rawFields, "authorization");
  if (authorization === undefined) {
    if (clientId === undefined) return clientSecret === undefined ? NOBODY : NAMELESS;
    return clientSecret === undefined
      ? { kind: "id", clientId }
      : { kind: "secret", clientId: normalized(clientId), clientSecret: normalized(clientSecret) };
  }
  // A client uses one method a request (RFC 6749 §2.3).
  if (second !== undefined || clientSecret !== undefined) return TWICE;
  const [, encoded] = /^basic +(\S+) *$/i.exec(authorization) ?? [];
  if (encoded === undefined) return NOT_BASIC;
  const credentials = readBasicCredentials(encoded);
  if ("reason" in credentials) return invalidClient(credentials.reason);
  const username = decodedOf(credentials.username);
  const password = decodedOf(credentials.password);
  if (username === undefined || password === undefined) return NOT_ENCODED;
  if (clientId !== undefined && normalized(clientId) !== username) return TWO_NAMES;
  return { kind: "secret", clientId: username, clientSecret: password };
}

/** Both parts are encoded as in a form before they are joined (RFC 6749 §2.3.1). */
function decodedOf(text: string): string | undefined {
  try {
    return normalized(decodeURIComponent(text.replaceAll("+", " ")));
  } catch {
    return undefined;
  }
}

/** With the challenge of the one scheme that there is (RFC 6749 §5.2). */
function invalidClient(detail: string): Refused {
  return {
    kind: "refused",
    code: "ERR_OAUTH_INVALID_CLIENT",
    detail,
    fields: { "www-authenticate": `Basic realm="${REALM}", charset="UTF-8"` },
  };
}

function tooManyAttempts(waitSeconds: number): Refused {
  return {
    kind: "refused",
    code: "ERR_TOO_MANY_ATTEMPTS",
    detail: "too many wrong secrets came from this address; try again later",
    fields: { "retry-after": String(waitSeconds) },
  };
}

const NOBODY = invalidClient("the request does not say which client asks");
// Who asks does not learn which clients there are.
const UNKNOWN = invalidClient("the client_id or the client_secret is wrong");
const NO_SECRET = invalidClient("this client_id needs a client_secret");
const NOT_BASIC = invalidClient("the scheme of the Authorization field has to be Basic");
const NOT_ENCODED = invalidClient(
  "client_id and client_secret are percent-encoded before they go into Basic credentials (RFC 6749, 2.3.1)",
);
const NAMELESS = invalidRequest("there is a client_secret without a client_id");
const TWICE = invalidRequest("the client shows more than one credential");
const TWO_NAMES = invalidRequest("the client_id is not the one of the Authorization field");
