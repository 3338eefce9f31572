import { z } from "zod";
import { REMEDY_BY_RESERVED_CLAIM } from "../issuer/claims-set.ts";
import { baseUrl } from "./addresses.ts";
import { algorithm } from "./algorithm.ts";
import { claimsMap } from "./claims-map.ts";
import { expectedCollection, section } from "./section.ts";
import { duration, nonEmptyString } from "./values.ts";

/** The claims that the endpoint sets itself, and what to do instead. */
const REMEDY_BY_CLAIM: Readonly<Record<string, string>> = {
  iss: "it is the issuer's URL",
  sub: "it is the client, or that of the token that is exchanged",
  aud: "it is one of the key `audiences`",
  exp: "use the key `expiresIn` of tokenEndpoint",
  nbf: "the token is valid from the time of signing",
  jti: "each token has one of its own",
  client_id: "it is the client that asked",
  scope: "it is what the caller has and the client asked for",
  act: "it is the client that acts for the subject of a token that is exchanged",
};

const names = (what: string) => z.array(nonEmptyString, { error: expectedCollection(`a list of ${what}`) });

/** `tokenEndpoint` in the file. */
export const tokenEndpointSection = section({
  authenticate: names("authenticators")
    .min(1, "expected at least one authenticator")
    .describe(
      "Who may ask, by names of `authenticators`: those of the types `apiKey` and `basic` know clients (the `client_id` is the subject, the `client_secret` the key or password), those of the type `jwt` the tokens that may be exchanged.",
    ),
  publicClients: names("client_ids")
    .default([])
    .describe(
      "The `client_id` of each client that has no secret, such as a page in a browser: it may exchange a token, and do nothing else.",
    ),
  audiences: names("audiences")
    .min(1, "expected at least one audience")
    .describe(
      "Whom a token may be for: `resource` or `audience` of the request is one of them. The only one is the default.",
    ),
  expiresIn: duration
    .prefault("5m")
    .describe(
      "The lifetime of the tokens; one that is exchanged ends with the token that it was exchanged for.",
    ),
  algorithm: algorithm
    .describe("What they are signed with. Default: what `issuer.algorithm` says.")
    .optional(),
  additionalClaims: claimsMap({ ...REMEDY_BY_RESERVED_CLAIM, ...REMEDY_BY_CLAIM })
    .prefault({})
    .describe(
      "Further claims. Of templates it takes `$user(claim)`: the client's, or those of the exchanged token.",
    ),
  url: baseUrl
    .describe(
      "Where clients reach the endpoint, for the metadata. It is needed where the issuer's documents are hosted elsewhere. Default: `token` below `issuer.url`.",
    )
    .optional(),
});

/** The types of authenticators that know clients, and of those that know tokens. */
export const CLIENT_TYPES: readonly string[] = ["apiKey", "basic"];
export const TOKEN_TYPES: readonly string[] = ["jwt"];
