/**
 * The one description of `sidecar.yaml`: it checks the file, types what comes out, and is printed as JSON Schema.
 * The second argument of a section names the keys that are designed but not built yet.
 */

import { z } from "zod";
import { AMBIGUITIES } from "../gateway/target.ts";
import { baseUrl } from "./addresses.ts";
import { ANONYMOUS, authenticatorsSection } from "./authenticators/sections.ts";
import { trustedProxy } from "./authenticators/values.ts";
import { limitsSection, timeoutsSection } from "./client-sections.ts";
import { hostPattern, method, pathPattern } from "./http-values.ts";
import { identitySection } from "./identity-section.ts";
import { issuerSection } from "./issuer-section.ts";
import { adminSection, listenSection } from "./listen-section.ts";
import { logSection } from "./log-section.ts";
import { requireSection } from "./require-section.ts";
import { EVEN_WITH_PROBLEMS_INSIDE, expectedCollection, section } from "./section.ts";
import { tokenEndpointSection } from "./token-endpoint-section.ts";
import { tokenSection } from "./token-section.ts";
import { upstreamSection } from "./upstream-section.ts";
import { filePath, nonEmptyString, policyName, timeout, word, workerCount } from "./values.ts";

const authenticate = z
  .array(nonEmptyString, { error: expectedCollection("a list of authenticators") })
  .min(1, `expected at least one authenticator, or ${ANONYMOUS}`);

const moduleForms = 'expected a file such as "./policies/tenant.mjs", or a map with the key file';
const moduleSection = section({
  file: filePath.describe("An ES module whose default export decides about a request."),
  timeout: timeout.prefault("1s").describe("How long it may take; then the request is refused."),
});
const policyModule = z.union([filePath.transform((file) => moduleSection.parse({ file })), moduleSection], {
  error: moduleForms,
});

const match = section({
  path: pathPattern
    .describe(
      "Compared with the whole path, case-sensitively: `/orders/:id`, `/files/*rest`. Default: every path.",
    )
    .optional(),
  methods: z
    .array(method, { error: expectedCollection("a list of methods") })
    .min(1, "expected at least one method")
    .describe("`GET` does not include `HEAD`. Default: every method.")
    .optional(),
  hosts: z
    .array(hostPattern, { error: expectedCollection("a list of host names") })
    .min(1, "expected at least one host name")
    .describe("Without port; `*.example.com` is every name below `example.com`. Default: every host.")
    .optional(),
});

const policy = section({
  name: policyName.describe("Names the policy in messages and commands."),
  match: match.prefault({}).describe("Which requests the policy is for. Default: every request."),
  authenticate: authenticate
    .describe(
      "Names of authenticators, which are asked in order who is calling, and `anonymous` for callers without a credential. Default: that at the top.",
    )
    .optional(),
  require: requireSection
    .describe("What the user must have; else 403. All keys that are there must hold.")
    .optional(),
  module: policyModule.describe("Code of your own that decides about a request.").optional(),
  token: z
    .union([z.literal("none"), tokenSection], { error: 'expected a map of token settings, or "none"' })
    .describe(
      "What the token says and where it goes, over the `token` at the top key by key; `none` forwards without a token. Default: that at the top.",
    )
    .optional(),
  upstream: upstreamSection
    .describe(
      "Another backend. What it does not say of `preserveHost`, `connections`, `pending` and `timeouts` is as the `upstream` at the top has it. Default: that at the top.",
    )
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
export const sidecarSchema = section({
  listen: listenSection
    .prefault("127.0.0.1:8080")
    .describe(
      "Where clients connect: `host:port`, `[ipv6]:port`, or `:port` for every address; `unix:PATH`; a socket of `systemd`, or `systemd:NAME`; a map; or a list of these.",
    ),
  admin: adminSection.describe(
    "Where operators, probes and local programs connect: one address or map as `listen` has them, or `false` for nowhere.",
  ),
  upstream: upstreamSection.describe(
    "The backend that requests are forwarded to: `http://host:port`, `https://host`, `unix:/run/app.sock`, or a map.",
  ),
  publicUrl: baseUrl
    .describe(
      "What the URLs of requests are built from, and so the default audience, such as `https://api.example.com`. Default: the request's own scheme and host.",
    )
    .optional(),
  trustedProxies: z
    .array(trustedProxy, {
      error: expectedCollection('a list of address ranges such as "10.0.0.0/8", or unix'),
    })
    .prefault([])
    .describe(
      "Addresses and ranges of proxies whose `Forwarded` and `X-Forwarded-*` are believed, and `unix` for whoever connects to a Unix socket.",
    ),
  allowInPath: z
    .array(word(AMBIGUITIES), { error: expectedCollection(`a list of ${AMBIGUITIES.join(", ")}`) })
    .default([])
    .describe("Kinds of ambiguous path to let through; the others are answered 400."),
  limits: limitsSection.prefault({}).describe("How much clients may ask for."),
  timeouts: timeoutsSection.prefault({}).describe("How long clients may take."),
  workers: workerCount
    .default(1)
    .describe("How many processes answer requests; `auto` is one for each core."),
  issuer: issuerSection.prefault({}).describe("Who signs the tokens, and with which keys."),
  identity: identitySection
    .describe(
      "ID tokens that say which deployment this is, for programs beside it. At least one of `subject`, `account`, `project` and `deployment` is needed.",
    )
    .optional(),
  tokenEndpoint: tokenEndpointSection
    .describe(
      "The OAuth 2.0 token endpoint at `{basePath}/token`, for client apps: client credentials, and token exchange. Off unless it is there.",
    )
    .optional(),
  log: logSection.prefault({}).describe("What is written to standard error."),
  authenticators: authenticatorsSection
    .prefault({})
    .describe("Ways to find out who is calling, by names of your choice: letters, digits, `-` and `_`."),
  authenticate: authenticate
    .describe(
      "Which authenticators are asked, in order, in every policy that does not say it itself; `anonymous` lets a caller without a credential pass. With authenticators it must be said, here or in each policy. Default: `[anonymous]` without authenticators.",
    )
    .optional(),
  token: tokenSection.prefault({}).describe("Defaults for the token of every policy."),
  policies: policies
    .describe(
      "In order: the first that matches decides, and where none does the answer is 404. Default: one that matches everything.",
    )
    .optional(),
});

/** What {@link sidecarSchema} makes of a file. */
export type SidecarFile = z.output<typeof sidecarSchema>;
