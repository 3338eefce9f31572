import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { createCa, issueForServer } from "./certificates.ts";
import { type AcceptedToken, type FederatedTrust, verifyFederated } from "./federated-trust.ts";

/** The tenant that is there, and the application in it that has a federated credential. */
export const TENANT = "11111111-2222-4333-8444-555555555555";
export const CLIENT = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";

/** What may be asked for. */
export const SCOPE = "https://vault.azure.net/.default";

/** Stands in for Microsoft Entra ID. */
export interface Entra extends AsyncDisposable {
  /** What `AZURE_AUTHORITY_HOST` is set to. */
  readonly authorityHost: string;
  /** The CA of its certificate, in PEM. */
  readonly ca: string;
  /** The tokens that were accepted, in order. */
  readonly accepted: AcceptedToken[];
}

/**
 * Starts a stub of Microsoft Entra ID with one tenant and one application, which has one federated credential. It speaks
 * only what the client library needs: the tenant's discovery document, and at its token endpoint the client credentials
 * grant with an assertion (RFC 7523 §2.2). It is reached over TLS, as the library insists, with a certificate of a CA of
 * its own. Its access tokens open nothing, and unlike Entra it takes an issuer without `https:`.
 *
 * @see https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
 */
export async function startEntra(trust: FederatedTrust): Promise<Entra> {
  const accepted: AcceptedToken[] = [];
  const ca = await createCa();
  const { cert, key } = await issueForServer(ca);
  const server = createServer({ cert, key }, async (request, response) => {
    const [status, answer] = await answerTo(request);
    response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store" });
    response.end(JSON.stringify(answer));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const authorityHost = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;

  async function answerTo(request: IncomingMessage): Promise<readonly [number, object]> {
    const { pathname } = new URL(request.url ?? "", authorityHost);
    if (request.method === "GET" && pathname === `/${TENANT}/v2.0/.well-known/openid-configuration`)
      return [200, metadata()];
    if (request.method !== "POST" || pathname !== `/${TENANT}/oauth2/v2.0/token`)
      return refused(404, "invalid_request", "AADSTS90002: Tenant not found.");
    const form = new URLSearchParams(await text(request));
    const wrong = Object.entries(EXPECTED_FORM).find(([name, value]) => form.get(name) !== value);
    if (wrong) return refused(400, "invalid_request", `AADSTS900144: ${wrong[0]} is not ${wrong[1]}`);
    try {
      accepted.push(await verifyFederated(form.get("client_assertion") ?? "", trust));
    } catch (error) {
      return refused(401, "invalid_client", `AADSTS70021: ${(error as Error).message}`);
    }
    return [200, { token_type: "Bearer", expires_in: 3600, access_token: `access-token-${accepted.length}` }];
  }

  function metadata(): object {
    return {
      issuer: `${authorityHost}/${TENANT}/v2.0`,
      authorization_endpoint: `${authorityHost}/${TENANT}/oauth2/v2.0/authorize`,
      token_endpoint: `${authorityHost}/${TENANT}/oauth2/v2.0/token`,
      jwks_uri: `${authorityHost}/${TENANT}/discovery/v2.0/keys`,
    };
  }

  return {
    authorityHost,
    ca: ca.cert,
    accepted,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

const EXPECTED_FORM = {
  client_id: CLIENT,
  grant_type: "client_credentials",
  client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
};

function refused(status: number, error: string, description: string): readonly [number, object] {
  return [status, { error, error_description: description, error_codes: [Number(/\d+/.exec(description))] }];
}
