// A backend on node:http that trusts only the tokens of the sidecar in front of it. It verifies them with jose.
//
//   npm install jose
//   PORT=9000 ISSUER=http://127.0.0.1:8080/__issuer AUDIENCE=https://orders.internal node server.mjs
//
// AUDIENCE is what token.audience says in sidecar.yaml: a token for another backend is not for this one.
import { createServer } from "node:http";
import { createRemoteJWKSet, jwtVerify } from "jose";

const { PORT, ISSUER, AUDIENCE } = process.env;
if (!PORT || !ISSUER || !AUDIENCE) throw new Error("set PORT, ISSUER and AUDIENCE");

// Fetched with the first token, kept, and fetched again when a token is signed with a new key.
const keys = createRemoteJWKSet(new URL(`${ISSUER}/.well-known/jwks.json`));

/** Returns the token's claims, or throws. */
async function verify(authorization = "") {
  const [, token = ""] = /^Bearer (.+)$/i.exec(authorization) ?? [];
  const { payload } = await jwtVerify(token, keys, {
    issuer: ISSUER,
    audience: AUDIENCE,
    algorithms: ["EdDSA", "ES256", "RS256"], // whatever the token's own header says
    requiredClaims: ["sub", "exp"], // jose refuses an expired token, but accepts one that never expires
    clockTolerance: 30, // seconds
  });
  return payload;
}

const server = createServer(async (request, response) => {
  let claims;
  try {
    claims = await verify(request.headers.authorization);
  } catch (error) {
    console.error(`refused: ${error.message}`);
    response.writeHead(401, { "WWW-Authenticate": "Bearer" });
    response.end("this service is reached through its sidecar\n");
    return;
  }
  response.writeHead(200, { "Content-Type": "application/json" });
  response.end(JSON.stringify({ hello: claims.sub, claims }));
});

// On the loopback address, so that nobody gets past the sidecar to begin with.
server.listen(Number(PORT), "127.0.0.1", () =>
  console.log(`listening on http://127.0.0.1:${server.address().port}`),
);
