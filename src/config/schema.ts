/**
 * The one description of `sidecar.yaml`: it checks the file, types what comes out, and is printed as JSON Schema.
 * The second argument of a section names the keys that are designed but not built yet.
 */

import { z } from "zod";
import { AMBIGUITIES } from "../gateway/target.ts";
import { REMEDY_BY_RESERVED_CLAIM } from "../issuer/claims-set.ts";
import { baseUrl } from "./addresses.ts";
import { ANONYMOUS, authenticatorsSection } from "./authenticators/sections.ts";
import { trustedProxy } from "./authenticators/values.ts";
import { limitsSection, timeoutsSection } from "./client-sections.ts";
import { headerName, hostPattern, method, pathPattern, tokenPrefix } from "./http-values.ts";
import { algorithm, identitySection, issuerSection } from "./issuer-section.ts";
import { adminSection, listenSection } from "./listen-section.ts";
import { logSection } from "./log-section.ts";
import { requireSection } from "./require-section.ts";
import { EVEN_WITH_PROBLEMS_INSIDE, expectedCollection, section } from "./section.ts";
import { upstreamSection } from "./upstream-section.ts";
import {
  duration,
  flag,
  jsonValue,
  nonEmptyString,
  policyName,
  timeout,
  word,
  workerCount,
} from "./values.ts";

const authenticate = z
  .array(nonEmptyString, { error: expectedCollection("a list of authenticators") })
  .min(1, `expected at least one authenticator, or ${ANONYMOUS}`);

const moduleForms = 'expected a file such as "./policies/tenant.mjs", or a map with the key file';
const moduleSection = section({
  file: nonEmptyString.describe("An ES module whose default export decides about a request."),
  timeout: timeout.default(1).describe("How long it may take; then the request is refused."),
});
const policyModule = z.union(
  [nonEmptyString.transform((file) => moduleSection.parse({ file })), moduleSection],
  {
    error: moduleForms,
  },
);

const additionalClaims = z
  .record(z.string(), jsonValue, { error: expectedCollection("a map of claims") })
  .superRefine((claims, context) => {
    for (const [claim, remedy] of Object.entries(REMEDY_BY_RESERVED_CLAIM)) {
      const message = `the claim ${claim} cannot be set here; ${remedy}`;
      if (Object.hasOwn(claims, claim)) context.addIssue({ code: "custom", path: [claim], message });
    }
  }, EVEN_WITH_PROBLEMS_INSIDE);

/** The keys of `token`, without defaults: at the top they are the defaults, in a policy they override. */
const tokenShape = {
  subject: nonEmptyString
    .describe('The sub claim. Default: the sub of the user, else "api-gateway".')
    .optional(),
  audience: z
    .union([nonEmptyString, z.array(nonEmptyString).min(1, "expected at least one audience")], {
      error: "expected a string or a list of strings",
    })
    .describe("The aud claim. Default: the URL of the request.")
    .optional(),
  expiresIn: duration.describe("The lifetime of the token. Default: 300.").optional(),
  headerName: headerName.describe('The field that carries the token. Default: "Authorization".').optional(),
  tokenPrefix: tokenPrefix.describe('What stands before the token. Default: "Bearer".').optional(),
  additionalClaims: additionalClaims
    .describe("Claims that are merged into the token. A claim set to null is left out.")
    .optional(),
  notBefore: flag.describe("Adds nbf. Default: false.").optional(),
  tokenId: flag.describe("Adds a unique jti, and so makes every token anew. Default: false.").optional(),
  reuse: flag
    .describe("Sends a token again for the same claims, while half its life is left. Default: true.")
    .optional(),
  algorithm: algorithm
    .describe("The algorithm that the token is signed with. Default: issuer.algorithm.")
    .optional(),
};
const token = section(tokenShape);

/** What `token` says, at the top of the file or in a policy. */
export type TokenSection = z.output<typeof token>;

const match = section({
  path: pathPattern
    .describe("A pattern such as /orders/:id or /files/*rest. Default: every path.")
    .optional(),
  methods: z
    .array(method, { error: expectedCollection("a list of methods") })
    .min(1, "expected at least one method")
    .describe("Default: every method.")
    .optional(),
  hosts: z
    .array(hostPattern, { error: expectedCollection("a list of host names") })
    .min(1, "expected at least one host name")
    .describe(
      "Host names without a port; *.example.com is every name below example.com. Default: every host.",
    )
    .optional(),
});

const policy = section({
  name: policyName.describe("Names the policy in messages and commands."),
  match: match.prefault({}).describe("Which requests the policy is for. Default: all."),
  authenticate: authenticate
    .describe("Who is asked who is calling, in order; anonymous lets a caller without a credential pass.")
    .optional(),
  require: requireSection.describe("What the user must have; otherwise the answer is 403.").optional(),
  module: policyModule.describe("Code of your own that decides about a request.").optional(),
  token: z
    .union([z.literal("none"), token], { error: 'expected a map of token settings, or "none"' })
    .describe('What the token says and where it goes; "none" forwards without a token.')
    .optional(),
  upstream: upstreamSection
    .describe("Another backend; what it does not say is as the upstream at the top has it.")
    .optional(),
});

const policies = z
  .array(policy, { error: expectedCollection("a list of policies") })
  .min(1, "expected at least one policy; leave the key out for one that matches everything")
  .superRefine((list, context) => {
    const seen = new Set<unknown>();
    list.forEach((entry: Partial<z.output<typeof policy>> | null, index) => {
      const name = entry?.name;
      if (typeof name === "string" && seen.has(name))
        context.addIssue({ code: "custom", path: [index, "name"], message: "another policy has this name" });
      seen.add(name);
    });
  }, EVEN_WITH_PROBLEMS_INSIDE);

/** `sidecar.yaml`, whole. */
export const sidecarSchema = section(
  {
    listen: listenSection
      .default({ kind: "tcp", host: "127.0.0.1", port: 8080 })
      .describe("Where clients connect."),
    admin: adminSection.describe("Where operators, probes and local programs connect; false for nowhere."),
    upstream: upstreamSection.describe("The backend that requests are forwarded to."),
    publicUrl: baseUrl
      .describe("What request URLs are built from. Default: the request's own scheme and host.")
      .optional(),
    trustedProxies: z
      .array(trustedProxy, {
        error: expectedCollection('a list of address ranges such as "10.0.0.0/8", or unix'),
      })
      .default([])
      .describe(
        "Proxies whose Forwarded and X-Forwarded-* are believed, by address; unix is whoever connects to a Unix socket.",
      ),
    allowInPath: z
      .array(word(AMBIGUITIES), { error: expectedCollection(`a list of ${AMBIGUITIES.join(", ")}`) })
      .default([])
      .describe("Kinds of ambiguous path to let through; the others are answered 400."),
    limits: limitsSection.prefault({}).describe("How much clients may ask for."),
    timeouts: timeoutsSection.prefault({}).describe("How long clients may take."),
    workers: workerCount.default(1).describe("How many processes answer requests."),
    issuer: issuerSection.prefault({}).describe("Who signs the tokens."),
    identity: identitySection
      .describe("ID tokens that say which deployment this is, for programs beside it.")
      .optional(),
    log: logSection.prefault({}).describe("What is written to standard error."),
    authenticators: authenticatorsSection
      .default({})
      .describe("Ways to find out who is calling, by names that policies use."),
    authenticate: authenticate
      .describe("The default of every policy. Without authenticators it is [anonymous].")
      .optional(),
    token: token.prefault({}).describe("Defaults for the token of every policy."),
    policies: policies
      .describe("In order, the first match wins; no match is 404. Default: one that matches all.")
      .optional(),
  },
  ["tokenEndpoint"],
);

/** What {@link sidecarSchema} makes of a file. */
export type SidecarFile = z.output<typeof sidecarSchema>;
