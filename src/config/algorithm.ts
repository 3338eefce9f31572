import { SIGNING_ALGORITHMS } from "../issuer/algorithms.ts";
import { word } from "./values.ts";

/** An algorithm to sign with. */
export const algorithm = word(SIGNING_ALGORITHMS, (value) =>
  /^HS\d+$/i.test(value)
    ? "an HS algorithm signs with a shared secret, which a JWK Set cannot publish"
    : value === "none"
      ? "a token without a signature proves nothing"
      : undefined,
);
