import { z } from "zod";
import type { TokenEndpointOptions } from "../gateway/token-endpoint/options.ts";
import type { SigningAlgorithm } from "../issuer/algorithms.ts";
import { baseUrl } from "./addresses.ts";
import type { AuthenticatorSection } from "./authenticators/sections.ts";
import { algorithm } from "./issuer-section.ts";
import { EVEN_WITH_PROBLEMS_INSIDE, expectedCollection, section } from "./section.ts";
import { compileTemplate, type TemplateLookup } from "./templates.ts";
import { additionalClaims } from "./token-section.ts";
import { duration, nonEmptyString } from "./values.ts";

/** The claims that the endpoint sets itself, and what to do instead. */
const REMEDY_BY_CLAIM: Readonly<Record<string, string>> = {
  iss: "it is the issuer's URL",
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
  additionalClaims: additionalClaims
    .superRefine((claims, context) => {
      for (const [claim, remedy] of Object.entries(REMEDY_BY_CLAIM)) {
        const message = `the claim ${claim} cannot be set here; ${remedy}`;
        if (Object.hasOwn(claims, claim)) context.addIssue({ code: "custom", path: [claim], message });
      }
    }, EVEN_WITH_PROBLEMS_INSIDE)
    .prefault({})
    .describe(
      "Further claims. Of templates it takes `$user(claim)`: the client's, or those of the exchanged token.",
    ),
  url: baseUrl
    .describe(
      "Where clients reach the endpoint, for the metadata. Default: `token` below `issuer.url`. It is needed where the issuer's documents are hosted elsewhere.",
    )
    .optional(),
});

/** What `tokenEndpoint` says. */
type TokenEndpointSection = z.output<typeof tokenEndpointSection>;

/** The types of authenticators that know clients, and of those that know tokens. */
export const CLIENT_TYPES: readonly string[] = ["apiKey", "basic"];
export const TOKEN_TYPES: readonly string[] = ["jwt"];

/** The options of the endpoint. */
export function tokenEndpointOptionsOf(
  { url, authenticate, publicClients, audiences, expiresIn, ...section }: TokenEndpointSection,
  authenticators: Readonly<Record<string, AuthenticatorSection>>,
  issuerAlgorithm: SigningAlgorithm,
  templateAt: TemplateLookup,
): TokenEndpointOptions {
  const ofTypes = (types: readonly string[]) =>
    authenticate.filter((name) => types.includes(authenticators[name]?.type ?? ""));
  const { algorithm = issuerAlgorithm, additionalClaims: claims } = section;
  return {
    url,
    clients: ofTypes(CLIENT_TYPES),
    publicClients,
    tokens: ofTypes(TOKEN_TYPES),
    audiences,
    lifetimeSeconds: expiresIn,
    algorithm,
    additionalClaims: compileTemplate(claims, ["tokenEndpoint", "additionalClaims"], templateAt),
  };
}
