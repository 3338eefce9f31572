import { resolve } from "node:path";
import { z } from "zod";
import type { JwtOptions } from "../../policy/authenticators/options.ts";
import { algorithm } from "../algorithm.ts";
import { headerName } from "../http-values.ts";
import { EVEN_WITH_PROBLEMS_INSIDE, expectedCollection, section } from "../section.ts";
import { filePath, nonEmptyString } from "../values.ts";
import { checkSource, commonShape, sourceOf, sourceShape } from "./common.ts";
import { fetchedUrl, skew } from "./values.ts";

const strings = (description: string) => z.array(nonEmptyString, { error: expectedCollection(description) });

/** `type: jwt` */
export const jwtSection = section({
  type: z.literal("jwt").describe("Callers who send a JWT of an identity provider."),
  issuer: nonEmptyString.describe(
    "The `iss` of the tokens, compared to the letter: a slash at the end counts. Its discovery document names the keys, unless `jwksUri` or `jwks` does.",
  ),
  audience: z
    .union([nonEmptyString, strings("a list of audiences").min(1, "expected at least one audience")], {
      error: "expected a string or a list of strings",
    })
    .describe("The `aud` that a token must have, or a list of which it must have one."),
  algorithms: z
    .array(algorithm, { error: expectedCollection("a list of algorithms") })
    .min(1, "expected at least one algorithm")
    .default(["RS256"])
    .describe("The algorithms that a token may be signed with."),
  jwksUri: fetchedUrl
    .describe("Where the JWK Set is; the `issuer` need not be a URL then. Default: what discovery says.")
    .optional(),
  jwks: filePath.describe("The JWK Set, instead of a URL. Changes are noticed.").optional(),
  requiredClaims: strings("a list of claims")
    .default([])
    .describe("Claims that a token must have, beside `exp`, `iss` and `aud`."),
  typ: nonEmptyString
    .describe(
      "The `typ` in its header. `at+jwt` takes only access tokens of RFC 9068, and so no ID tokens. Default: `JWT`, `at+jwt` or none.",
    )
    .optional(),
  clockSkew: skew.prefault("60s").describe("By how much the clocks may differ, at most 10 minutes."),
  subjectClaim: nonEmptyString
    .default("sub")
    .describe("The claim that says who is calling: a string, or a whole number."),
  originalTokenHeader: headerName
    .describe("The header in which the backend gets the caller's own token as well. Default: none.")
    .optional(),
  ...sourceShape,
  ...commonShape,
}).superRefine((value, context) => {
  checkSource(value, context);
  if (value?.jwksUri !== undefined && value?.jwks !== undefined)
    context.addIssue({
      code: "custom",
      path: ["jwks"],
      message: "expected only one of the keys jwksUri and jwks",
    });
  const isDiscovered = value?.jwksUri === undefined && value?.jwks === undefined;
  if (isDiscovered && value?.issuer !== undefined && !hasDiscovery(value.issuer))
    context.addIssue({
      code: "custom",
      path: ["issuer"],
      message:
        "expected an http or https URL without a query, for discovery; an issuer that is none needs the key jwksUri or jwks",
    });
}, EVEN_WITH_PROBLEMS_INSIDE);

/** OpenID Connect Discovery 1.0 §3: an issuer is a URL without a query and a fragment. */
function hasDiscovery(issuer: string): boolean {
  const url = /^https?:\/\/[^\s?#\\]+$/i.test(issuer) ? URL.parse(issuer) : null;
  return url !== null && !url.username && !url.password;
}

/** What the section says. */
export function jwtOptionsOf(value: z.output<typeof jwtSection>, baseDirectory: string): JwtOptions {
  const { audience, jwksUri, jwks } = value;
  return {
    type: "jwt",
    source: sourceOf(value),
    issuer: value.issuer,
    audiences: typeof audience === "string" ? [audience] : audience,
    algorithms: value.algorithms,
    keys:
      jwks !== undefined
        ? { kind: "file", path: resolve(baseDirectory, jwks) }
        : jwksUri !== undefined
          ? { kind: "jwksUri", url: jwksUri }
          : { kind: "discovery" },
    requiredClaims: value.requiredClaims,
    typ: value.typ,
    clockSkewSeconds: value.clockSkew,
    subjectClaim: value.subjectClaim,
    originalTokenHeader: value.originalTokenHeader,
    forwardCredential: value.forwardCredential,
  };
}
