// Verifies the token of the sidecar, for nginx's auth_request. This is njs, not Node.js.
const ISSUER = "http://127.0.0.1:8080/__issuer";
const AUDIENCE = "https://orders.internal"; // what token.audience says in sidecar.yaml
const LEEWAY_SECONDS = 30;

/** Answers 204 and who is calling, or 401. */
async function token(r) {
  try {
    const claims = await verify(r.headersIn.Authorization || "");
    r.headersOut["X-Caller"] = claims.sub;
    r.return(204);
  } catch (error) {
    r.error(`token refused: ${error.message}`);
    r.return(401);
  }
}

/** The token's claims. Throws where anything is wrong. */
async function verify(authorization) {
  const match = /^Bearer ([\w-]+)\.([\w-]+)\.([\w-]+)$/i.exec(authorization);
  if (!match) throw new Error("there is none");
  const header = partOf(match[1]);
  // Whatever else the token's header says, it is verified with ES256: njs has no EdDSA.
  if (header.alg !== "ES256") throw new Error(`alg is ${header.alg}`);
  const key = await keyOf(header.kid);
  const signed = `${match[1]}.${match[2]}`;
  const algorithm = { name: "ECDSA", hash: "SHA-256" };
  if (!(await crypto.subtle.verify(algorithm, key, Buffer.from(match[3], "base64url"), signed)))
    throw new Error("the signature is wrong");

  const claims = partOf(match[2]);
  const now = Date.now() / 1000;
  if (claims.iss !== ISSUER) throw new Error(`iss is ${claims.iss}`);
  if (![].concat(claims.aud).includes(AUDIENCE)) throw new Error(`aud is ${claims.aud}`);
  if (!(claims.exp > now - LEEWAY_SECONDS)) throw new Error(`exp is ${claims.exp}`);
  if (claims.nbf > now + LEEWAY_SECONDS) throw new Error(`nbf is ${claims.nbf}`);
  if (!claims.sub || /[^!-~]/.test(claims.sub)) throw new Error("sub does not fit into a header");
  return claims;
}

function partOf(text) {
  return JSON.parse(Buffer.from(text, "base64url").toString());
}

/** The published key with this kid. */
async function keyOf(kid) {
  const jwk = (await publishedKey("keys", kid)) || (await publishedKey("keys-again", kid));
  if (!jwk) throw new Error(`no key has the kid ${kid}`);
  // Older njs does not read a JWK, so it is made a SubjectPublicKeyInfo: for P-256 that is a prefix, x and y.
  const prefix = "3059301306072a8648ce3d020106082a8648ce3d03010703420004";
  const x = Buffer.from(jwk.x, "base64url");
  const y = Buffer.from(jwk.y, "base64url");
  const spki = Buffer.concat([Buffer.from(prefix, "hex"), x, y]);
  return crypto.subtle.importKey("spki", spki, { name: "ECDSA", namedCurve: "P-256" }, false, ["verify"]);
}

async function publishedKey(place, kid) {
  const response = await ngx.fetch(`http://127.0.0.1:9002/${place}`);
  if (!response.ok) throw new Error(`the keys cannot be fetched: ${response.status}`);
  const set = await response.json();
  return set.keys.find((key) => key.kid === kid && key.alg === "ES256");
}

export default { token };
