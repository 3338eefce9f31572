// A Fastify backend that trusts only the tokens of the sidecar in front of it. A hook verifies them with jose.
//
//   npm install fastify jose
//   PORT=9000 ISSUER=http://127.0.0.1:8080/__issuer AUDIENCE=https://orders.internal node server.mjs
//
// AUDIENCE is what token.audience says in sidecar.yaml: a token for another backend is not for this one.
import Fastify from "fastify";
import { createRemoteJWKSet, jwtVerify } from "jose";

const { PORT, ISSUER, AUDIENCE } = process.env;
if (!PORT || !ISSUER || !AUDIENCE) throw new Error("set PORT, ISSUER and AUDIENCE");

// Fetched with the first token, kept, and fetched again when a token is signed with a new key.
const keys = createRemoteJWKSet(new URL(`${ISSUER}/.well-known/jwks.json`));

const app = Fastify();
app.decorateRequest("claims", null);

// Every route, those of plugins too, and what has no route: add it before them.
app.addHook("onRequest", async (request, reply) => {
  const [, token = ""] = /^Bearer (.+)$/i.exec(request.headers.authorization ?? "") ?? [];
  try {
    const { payload } = await jwtVerify(token, keys, {
      issuer: ISSUER,
      audience: AUDIENCE,
      algorithms: ["EdDSA", "ES256", "RS256"], // whatever the token's own header says
      requiredClaims: ["sub", "exp"], // jose refuses an expired token, but accepts one that never expires
      clockTolerance: 30, // seconds
    });
    request.claims = payload;
  } catch (error) {
    console.error(`refused: ${error.message}`);
    reply.code(401).header("WWW-Authenticate", "Bearer");
    return reply.send("this service is reached through its sidecar\n");
  }
});

app.get("/*", async ({ claims }) => ({ hello: claims.sub, claims }));

// On the loopback address, so that nobody gets past the sidecar to begin with.
console.log(`listening on ${await app.listen({ host: "127.0.0.1", port: Number(PORT) })}`);
