// http-proxy-3 with an agent that keeps its connections, and tokens by jose.
import { createPrivateKey } from "node:crypto";
import { Agent, createServer } from "node:http";
import { createProxyServer } from "http-proxy-3";
import { SignJWT } from "jose";
import {
  audienceOf,
  COMMON_CLAIMS,
  LIFETIME_SECONDS,
  port,
  privateKeyPem,
  tokensBy,
  upstream,
} from "./tokens.js";

const key = createPrivateKey(privateKeyPem);
const tokenFor = tokensBy((audience) =>
  new SignJWT({ ...COMMON_CLAIMS, aud: audience })
    .setProtectedHeader({ alg: "ES256", typ: "JWT" })
    .setIssuedAt()
    .setExpirationTime(`${LIFETIME_SECONDS}s`)
    .sign(key),
);

const proxy = createProxyServer({ target: upstream, agent: new Agent({ keepAlive: true, maxSockets: 128 }) });
proxy.on("error", (_error, _request, response) => response.destroy());

createServer({ keepAliveTimeout: 60_000 }, async (request, response) => {
  request.headers.authorization = `Bearer ${await tokenFor(audienceOf(request))}`;
  proxy.web(request, response);
}).listen(port, "127.0.0.1");
