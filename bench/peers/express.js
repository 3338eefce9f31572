// Express with http-proxy-middleware, an agent that keeps its connections, and tokens by jsonwebtoken.
import { createPrivateKey } from "node:crypto";
import { Agent } from "node:http";
import express from "express";
import { createProxyMiddleware } from "http-proxy-middleware";
import jsonwebtoken from "jsonwebtoken";
import {
  audienceOf,
  COMMON_CLAIMS,
  LIFETIME_SECONDS,
  port,
  privateKeyPem,
  tokensBy,
  upstream,
} from "./tokens.js";

// As a KeyObject: of a PEM text it would make one for every token.
const key = createPrivateKey(privateKeyPem);
const { iss: issuer, sub: subject } = COMMON_CLAIMS;
const tokenFor = tokensBy((audience) =>
  jsonwebtoken.sign({}, key, { algorithm: "ES256", issuer, subject, audience, expiresIn: LIFETIME_SECONDS }),
);

const app = express();
app.disable("x-powered-by").disable("etag");
app.use((request, _response, next) => {
  request.headers.authorization = `Bearer ${tokenFor(audienceOf(request))}`;
  next();
});
app.use(createProxyMiddleware({ target: upstream, agent: new Agent({ keepAlive: true, maxSockets: 128 }) }));
app.listen(Number(port), "127.0.0.1").keepAliveTimeout = 60_000;
