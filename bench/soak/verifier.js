import { createLocalJWKSet, decodeJwt, jwtVerify } from "jose";
import { ask } from "../requests.js";
import { ALGORITHMS, JWKS_SECONDS } from "./configuration.js";

/**
 * A backend's verifier that is as lazy as it may be: it keeps the JWK Set for as long as that allows, also when it meets a kid
 * that it does not know. A rotation is harmless where it never refuses.
 */
export class Verifier {
  #port;
  #keys;
  #fetchedAt = Number.NEGATIVE_INFINITY;
  #underWay;
  #issuer;
  /** The tokens that it verified, and the kids of the keys that had signed them. */
  verified = 0;
  kids = new Set();

  constructor(port) {
    this.#port = port;
    this.#issuer = `http://127.0.0.1:${port}/__issuer`;
  }

  /**
   * @param field what the backend got as Authorization
   * @returns its claims
   * @throws {Error} where there is no token
   */
  claimsOf(field) {
    return decodeJwt(tokenIn(field));
  }

  /** @throws {Error} where the token does not verify */
  async verify(field, audience) {
    const keys = await this.#currentKeys();
    const { protectedHeader } = await jwtVerify(tokenIn(field), keys, {
      issuer: this.#issuer,
      audience,
      algorithms: ALGORITHMS,
      requiredClaims: ["sub", "iat", "exp"],
    });
    this.verified++;
    this.kids.add(protectedHeader.kid);
  }

  #currentKeys() {
    if (performance.now() - this.#fetchedAt < JWKS_SECONDS * 1000) return this.#keys;
    this.#underWay ??= this.#fetch().finally(() => {
      this.#underWay = undefined;
    });
    return this.#underWay;
  }

  async #fetch() {
    const askedAt = performance.now();
    const { body } = await ask(this.#port, "/__issuer/.well-known/jwks.json");
    this.#keys = createLocalJWKSet(JSON.parse(body));
    this.#fetchedAt = askedAt;
    return this.#keys;
  }
}

function tokenIn(field) {
  const [, token] = /^Bearer (\S+)$/.exec(field) ?? [];
  if (token === undefined) throw new Error(`no token but ${field}`);
  return token;
}
