import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { startBackend } from "./backend.ts";
import { type AcceptedToken, type FederatedTrust, verifyFederated } from "./federated-trust.ts";

/** The role that is there to be assumed. */
export const ROLE = "arn:aws:iam::123456789012:role/orders";

/** Stands in for AWS Security Token Service. */
export interface AwsSts extends AsyncDisposable {
  /** What `AWS_ENDPOINT_URL_STS` is set to. */
  readonly url: string;
  /** The tokens that were accepted, in order. */
  readonly accepted: AcceptedToken[];
}

/**
 * Starts a stub of AWS STS with one OIDC provider and one role that trusts it. It speaks only what the client library
 * needs: of the Query protocol the actions AssumeRoleWithWebIdentity, which gives credentials for a good token, and
 * GetCallerIdentity, which wants a session token that was given. It checks no signature of AWS (SigV4), its
 * credentials open nothing, and unlike AWS it takes an issuer without `https:`.
 *
 * @see https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
 */
export async function startAwsSts(trust: FederatedTrust): Promise<AwsSts> {
  const accepted: AcceptedToken[] = [];
  const sessions = new Map<string, string>();

  async function assumeRole(form: URLSearchParams): Promise<string> {
    if (form.get("RoleArn") !== ROLE)
      throw new Refusal(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity");
    const verified = await verifyFederated(form.get("WebIdentityToken") ?? "", trust).catch(
      (error: Error) => {
        throw new Refusal(400, "InvalidIdentityToken", error.message);
      },
    );
    accepted.push(verified);
    const sessionToken = randomUUID();
    const arn = `${ROLE.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/")}/${form.get("RoleSessionName")}`;
    sessions.set(sessionToken, arn);
    return `<SubjectFromWebIdentityToken>${verified.claims.sub}</SubjectFromWebIdentityToken>
<Audience>${verified.claims.aud}</Audience>
<AssumedRoleUser><Arn>${arn}</Arn><AssumedRoleId>AROA:${form.get("RoleSessionName")}</AssumedRoleId></AssumedRoleUser>
<Credentials><AccessKeyId>ASIA${accepted.length}</AccessKeyId><SecretAccessKey>not-a-secret</SecretAccessKey>
<SessionToken>${sessionToken}</SessionToken><Expiration>${new Date(Date.now() + 3_600_000).toISOString()}</Expiration></Credentials>`;
  }

  function callerIdentity({ headers }: IncomingMessage): string {
    const arn = sessions.get(String(headers["x-amz-security-token"]));
    if (arn === undefined) throw new Refusal(403, "InvalidClientTokenId", "The security token is invalid");
    return `<Arn>${arn}</Arn><UserId>AROA</UserId><Account>123456789012</Account>`;
  }

  async function answerTo(request: IncomingMessage): Promise<string> {
    const form = new URLSearchParams(await text(request));
    const action = form.get("Action");
    if (form.get("Version") !== "2011-06-15") throw new Refusal(400, "InvalidAction", "another version");
    if (action === "AssumeRoleWithWebIdentity") return inResult(action, await assumeRole(form));
    if (action === "GetCallerIdentity") return inResult(action, callerIdentity(request));
    throw new Refusal(400, "InvalidAction", `there is no ${action} here`);
  }

  const server = await startBackend(async (request, response) => {
    const [status, answer] = await answerTo(request).then(
      (granted) => [200, granted] as const,
      (error: Error) => [error instanceof Refusal ? error.status : 500, errorOf(error)] as const,
    );
    response.writeHead(status, { "content-type": "text/xml" });
    response.end(answer);
  });
  return { url: server.url, accepted, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

/** An error as AWS words it. */
class Refusal extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/";

function inResult(action: string, result: string): string {
  return `<${action}Response xmlns="${NAMESPACE}"><${action}Result>${result}</${action}Result>
<ResponseMetadata><RequestId>${randomUUID()}</RequestId></ResponseMetadata></${action}Response>`;
}

function errorOf(error: Error): string {
  const code = error instanceof Refusal ? error.code : "InternalFailure";
  const message = error.message.replaceAll(/[<&"]/g, " ");
  return `<ErrorResponse xmlns="${NAMESPACE}"><Error><Type>Sender</Type><Code>${code}</Code>
<Message>${message}</Message></Error><RequestId>${randomUUID()}</RequestId></ErrorResponse>`;
}
