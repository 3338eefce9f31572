import { z } from "zod";
import { formatDuration } from "../duration.ts";
import { REMEDY_BY_RESERVED_CLAIM } from "../issuer/claims-set.ts";
import type { TokenSettings } from "../policy/policy.ts";
import { algorithm } from "./algorithm.ts";
import { claimsMap } from "./claims-map.ts";
import { headerName, tokenPrefix } from "./http-values.ts";
import { section } from "./section.ts";
import { duration, flag, nonEmptyString } from "./values.ts";

/** What the tokens of a file that says nothing of them are like. */
export const TOKEN_DEFAULTS: Pick<
  TokenSettings,
  "lifetimeSeconds" | "headerName" | "tokenPrefix" | "notBefore" | "tokenId" | "reuse"
> = {
  lifetimeSeconds: 300,
  headerName: "Authorization",
  tokenPrefix: "Bearer",
  notBefore: false,
  tokenId: false,
  reuse: true,
};

/** `token` in the file. It fills in no defaults: at the top it says those of the policies, in a policy it overrides them. */
export const tokenSection = section({
  subject: nonEmptyString
    .describe("The `sub` claim. Takes templates. Default: the user's `sub`, or `api-gateway`.")
    .optional(),
  audience: z
    .union([nonEmptyString, z.array(nonEmptyString).min(1, "expected at least one audience")], {
      error: "expected a string or a list of strings",
    })
    .describe("The `aud` claim. Takes templates. Default: the URL of the request.")
    .optional(),
  actor: z
    .union([nonEmptyString, z.literal(false)], { error: 'expected a text such as "$user(iss)", or false' })
    .describe(
      "Through whom the caller's request came, for the claim `act` (RFC 8693): `$user(iss)` where another sidecar's token is the credential. The actors before, in the caller's own `act`, go inside. Takes `$user`; `false` switches that at the top off. Default: none.",
    )
    .optional(),
  expiresIn: duration
    .describe(
      `How long the token is valid: \`exp\` is \`iat\` plus this. Default: \`${formatDuration(TOKEN_DEFAULTS.lifetimeSeconds)}\`.`,
    )
    .optional(),
  headerName: headerName
    .describe(
      `The header that carries the token. A client's own copy of it is taken out of every request, whichever policy matches. Default: \`${TOKEN_DEFAULTS.headerName}\`.`,
    )
    .optional(),
  tokenPrefix: tokenPrefix
    .describe(
      `What stands before the token, with a space between; \`""\` sends the bare token. Default: \`${TOKEN_DEFAULTS.tokenPrefix}\`.`,
    )
    .optional(),
  additionalClaims: claimsMap(REMEDY_BY_RESERVED_CLAIM)
    .describe(
      "Claims that are merged into the token; a policy's are merged over those at the top, and one set to `null` is left out. Takes templates. Default: `{}`.",
    )
    .optional(),
  notBefore: flag
    .describe(`Adds \`nbf\`, equal to \`iat\`. Default: \`${TOKEN_DEFAULTS.notBefore}\`.`)
    .optional(),
  tokenId: flag
    .describe(
      `Adds a unique \`jti\`, so that every request has a token of its own. Default: \`${TOKEN_DEFAULTS.tokenId}\`.`,
    )
    .optional(),
  reuse: flag
    .describe(
      `Sends a token again for the same claims, while at least half its life is left. Default: \`${TOKEN_DEFAULTS.reuse}\`.`,
    )
    .optional(),
  algorithm: algorithm
    .describe("What the token is signed with. Default: what `issuer.algorithm` says.")
    .optional(),
});

/** What `token` says, at the top of the file or in a policy. */
export type TokenSection = z.output<typeof tokenSection>;
