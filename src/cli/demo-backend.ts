import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { reasonOf } from "../errors.ts";
import type { TcpAddress } from "../gateway/listen/listen-options.ts";
import { http } from "../node-http.ts";

/** A field in which the demo backend looks for a token. */
export interface TokenField {
  readonly headerName: string;
  readonly tokenPrefix: string;
}

/** What {@link startDemoBackend} needs. */
export interface DemoBackendOptions {
  readonly address: TcpAddress;
  /** The only issuer that is trusted. */
  readonly issuer: string;
  /** Those of the moment. */
  readonly tokenFields: () => readonly TokenField[];
}

/**
 * Starts a small HTTP service as a backend that knows nothing of its callers: it answers with the request that
 * it got, and with what verifying the token in it gave. It finds the keys by discovery, as any OIDC client would.
 */
export async function startDemoBackend({ address, issuer, tokenFields }: DemoBackendOptions) {
  const verify = createVerifier(issuer);
  const server = http.createServer(async (request, response) => {
    const found = findToken(request, tokenFields());
    const token =
      found === undefined ? { verified: false, reason: "the request carries no token" } : await verify(found);
    const { method, url, headers } = request;
    response.writeHead(200, { "content-type": "application/json" });
    response.end(`${JSON.stringify({ token, received: { method, url, headers } }, undefined, 2)}\n`);
  });
  server.listen({ port: address.port, ...(address.host !== undefined && { host: address.host }) });
  await once(server, "listening");
  return {
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

function findToken({ headers }: IncomingMessage, fields: readonly TokenField[]): string | undefined {
  for (const { headerName, tokenPrefix } of fields) {
    const value = headers[headerName.toLowerCase()];
    const start = tokenPrefix === "" ? "" : `${tokenPrefix} `;
    if (typeof value === "string" && value.startsWith(start)) return value.slice(start.length);
  }
  return undefined;
}

/** Discovery is done once, at the first token; jose keeps the JWK Set fresh after that. */
function createVerifier(issuer: string) {
  let keys: ReturnType<typeof createRemoteJWKSet> | undefined;
  return async (token: string) => {
    try {
      keys ??= createRemoteJWKSet(new URL(await discoverJwksUri(issuer)));
      const { protectedHeader, payload } = await jwtVerify(token, keys, { issuer });
      return { verified: true, header: protectedHeader, claims: payload };
    } catch (error) {
      return { verified: false, reason: reasonOf(error) };
    }
  };
}

async function discoverJwksUri(issuer: string): Promise<string> {
  const response = await fetch(`${issuer}/.well-known/openid-configuration`);
  const metadata = (await response.json()) as { issuer?: string; jwks_uri?: string };
  if (metadata.issuer !== issuer || !metadata.jwks_uri)
    throw new Error("discovery answered for another issuer");
  return metadata.jwks_uri;
}
