// @fastify/http-proxy over undici, with the connections that its README names, and tokens by fast-jwt.
import httpProxy from "@fastify/http-proxy";
import { createSigner } from "fast-jwt";
import Fastify from "fastify";
import {
  audienceOf,
  COMMON_CLAIMS,
  LIFETIME_SECONDS,
  port,
  privateKeyPem,
  tokensBy,
  upstream,
} from "./tokens.js";

// With the key at hand it signs in the loop: a promise for each token would cost more.
const sign = createSigner({
  key: privateKeyPem,
  algorithm: "ES256",
  ...COMMON_CLAIMS,
  expiresIn: LIFETIME_SECONDS * 1000,
});
const tokenFor = tokensBy((audience) => sign({ aud: audience }));

const server = Fastify({ logger: false, disableRequestLogging: true, keepAliveTimeout: 60_000 });
server.register(httpProxy, {
  upstream,
  disableRequestLogging: true,
  undici: { connections: 128, pipelining: 1, keepAliveTimeout: 60_000 },
  replyOptions: {
    rewriteRequestHeaders: (request, headers) => {
      // A copy already, so that it may be written to.
      headers.authorization = `Bearer ${tokenFor(audienceOf(request))}`;
      return headers;
    },
  },
});
await server.listen({ port: Number(port), host: "127.0.0.1" });
