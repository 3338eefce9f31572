// An Express backend that trusts only the tokens of the sidecar in front of it. express-jwt verifies them, with the
// keys that jwks-rsa fetches. They have no EdDSA, so the sidecar has to sign with `issuer: {algorithm: ES256}`.
//
//   npm install express express-jwt jwks-rsa
//   PORT=9000 ISSUER=http://127.0.0.1:8080/__issuer AUDIENCE=https://orders.internal node server.mjs
//
// AUDIENCE is what token.audience says in sidecar.yaml: a token for another backend is not for this one.
import express from "express";
import { expressjwt, UnauthorizedError } from "express-jwt";
import jwksRsa from "jwks-rsa";

const { PORT, ISSUER, AUDIENCE } = process.env;
if (!PORT || !ISSUER || !AUDIENCE) throw new Error("set PORT, ISSUER and AUDIENCE");

const app = express();

// Everything below this line sees only requests whose token is genuine, for this backend, and not expired.
app.use(
  expressjwt({
    // Kept for 10 minutes, and fetched again when a token is signed with a new key.
    secret: jwksRsa.expressJwtSecret({ jwksUri: `${ISSUER}/.well-known/jwks.json`, rateLimit: true }),
    issuer: ISSUER,
    audience: AUDIENCE,
    algorithms: ["ES256", "RS256"], // whatever the token's own header says
    clockTolerance: 30, // seconds
  }),
);

// express-jwt looks at exp where there is one. A token that never expires is none of the sidecar's.
app.use(({ auth }, _response, next) => {
  if (auth.sub && auth.exp) return next();
  next(new UnauthorizedError("invalid_token", { message: "no sub or exp" }));
});

// The claims of the token are in request.auth.
app.get("/*path", (request, response) => {
  response.json({ hello: request.auth.sub, claims: request.auth });
});

// Express knows an error handler by its four parameters.
app.use((error, _request, response, next) => {
  if (error.name !== "UnauthorizedError") return next(error);
  console.error(`refused: ${error.message}`);
  response
    .status(401)
    .set("WWW-Authenticate", "Bearer")
    .send("this service is reached through its sidecar\n");
});

// On the loopback address, so that nobody gets past the sidecar to begin with.
const server = app.listen(Number(PORT), "127.0.0.1", (error) => {
  if (error) throw error;
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
