// Runs in nginx, as njs: signs a token for every request by WebCrypto, then lets nginx forward it. Each request has an
// environment of its own in njs 0.7, so that neither the key nor a token can be kept.
import key from "key.js";

const ECDSA = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const HEADER = encode(JSON.stringify({ alg: "ES256", typ: "JWT" }));
const LIFETIME_SECONDS = 300;

function encode(data) {
  return Buffer.from(data).toString("base64url");
}

/** ECDSA signatures are DER in older njs; a JWT has the two integers side by side (RFC 7518 §3.4). */
function integersOf(signature) {
  const bytes = Buffer.from(signature);
  if (bytes.length === 64) return bytes;
  const integers = Buffer.alloc(64);
  let at = 2;
  for (let index = 0; index < 2; index++) {
    const end = at + 2 + bytes[at + 1];
    const integer = bytes.slice(Math.max(at + 2, end - 32), end);
    integer.copy(integers, (index + 1) * 32 - integer.length);
    at = end;
  }
  return integers;
}

async function sign(request) {
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: "https://peers.example.com",
    sub: "api-gateway",
    aud: `http://${request.headersIn.Host}${request.uri}`,
    iat: now,
    exp: now + LIFETIME_SECONDS,
  };
  const input = `${HEADER}.${encode(JSON.stringify(claims))}`;
  const privateKey = await crypto.subtle.importKey("pkcs8", Buffer.from(key, "base64"), ECDSA, false, [
    "sign",
  ]);
  const signature = await crypto.subtle.sign(ECDSA, privateKey, Buffer.from(input));
  request.variables.token = `${input}.${encode(integersOf(signature))}`;
  request.internalRedirect("@backend");
}

export default { sign };
