import { readFileSync } from "node:fs";

const LIFETIME_SECONDS = 300;
/** As Countersign: a token is sent again while half its life is left. */
const KEPT_MILLISECONDS = (LIFETIME_SECONDS * 1000) / 2;
const MOST_KEPT = 10_000;

/** What a peer is started with: `node PEER.js PORT UPSTREAM KEY_FILE fresh|kept`. */
const [port, upstream, keyFile, mode] = process.argv.slice(2);

export { port, upstream };

/** The key to sign with, for ES256: the one algorithm that every peer's library can. */
export const privateKeyPem = readFileSync(keyFile, "utf8");

/** The members of every token but its audience and its times. */
export const COMMON_CLAIMS = { iss: "https://peers.example.com", sub: "api-gateway" };

export { LIFETIME_SECONDS };

/** The audience of Countersign's default policy: the URL of the request. */
export function audienceOf({ headers, url }) {
  return `http://${headers.host}${url}`;
}

/**
 * Makes the function that gives the token for an audience: by `sign` for every request, or, in the mode "kept", from a Map.
 * Where `sign` gives a promise, so does that function.
 */
export function tokensBy(sign) {
  if (mode !== "kept") return sign;
  const kept = new Map();
  return (audience) => {
    const found = kept.get(audience);
    const now = Date.now();
    if (found !== undefined && now < found.until) return found.token;
    if (kept.size >= MOST_KEPT) kept.clear();
    const token = sign(audience);
    kept.set(audience, { token, until: now + KEPT_MILLISECONDS });
    return token;
  };
}
