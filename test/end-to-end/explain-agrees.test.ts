import { createHash } from "node:crypto";
import { once } from "node:events";
import { Agent, type IncomingMessage, request as sendRequest } from "node:http";
import { text } from "node:stream/consumers";
import fc from "fast-check";
import { decodeJwt } from "jose";
import { expect, test } from "vitest";
import { explain } from "../../src/cli/explanation.ts";
import { openStage } from "../../src/cli/rehearsal.ts";
import { borrowKeys } from "../../src/cli/rehearsal-keys.ts";
import { credentialMask, type Mask } from "../../src/cli/secrets.ts";
import { startBackend, type TestBackend } from "../support/backend.ts";
import { startSidecar, type TestSidecar } from "../support/sidecar.ts";

const SECRETS = ["secret-of-acme", "secret-of-globex"] as const;
const keysOf = (claims: string) =>
  SECRETS.map(
    (secret, index) =>
      `{subject: ${["acme", "globex"][index]}, sha256: ${createHash("sha256").update(secret).digest("hex")}, claims: ${claims}}`,
  ).join(", ");

const AUTHENTICATORS = (forwardCredential: boolean) => `
authenticators:
  header: {type: apiKey, header: X-Api-Key, forwardCredential: ${forwardCredential}, keys: [${keysOf("{plan: gold, scope: read}")}]}
  bearer: {type: apiKey, header: Authorization, scheme: Bearer, keys: [${keysOf("{plan: free}")}]}
  query: {type: apiKey, query: key, forwardCredential: ${forwardCredential}, keys: [${keysOf("{scope: [read, write]}")}]}
  dotted: {type: apiKey, header: X.Key, keys: [${keysOf("{}")}]}
  cookie: {type: apiKey, cookie: session, keys: [${keysOf("{}")}]}
  near: {type: trustedHeader, header: X-User, from: [127.0.0.0/8], claims: {mail: X-User-Mail}}
  far: {type: trustedHeader, header: X-Far-User, from: [10.0.0.0/8]}
`;

const path = fc.constantFrom("/orders/:id", "/orders", "/orders{/}", "/*rest", "/files/*name", "/a%20b");
/** Mostly one of the first list: what goes through each stage, so that the next is reached. */
const mostly = <T>(usual: readonly T[], other: readonly T[]) =>
  fc.oneof(
    { arbitrary: fc.constantFrom(...usual), weight: 4 },
    { arbitrary: fc.constantFrom(...other), weight: 1 },
  );
const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 });

const template = fc.constantFrom(
  ...["$user(sub)", "$user(plan)", "$user(scope)", "$request(url)", "$request(path)", "$request(host)"],
  ...[
    "$request(ip)",
    "$request(method)",
    "$header(X-Region)",
    "$header(X-Api-Key)",
    "$query(q)",
    "$query(key)",
  ],
  ...["plain", "at $header(X-Region) by $user(sub)", "$header(Authorization)", "$header(X-User)"],
);

const token = fc.record(
  {
    subject: template,
    audience: fc.oneof(template, fc.array(template, { minLength: 1, maxLength: 2 })),
    headerName: fc.constantFrom("Authorization", "X-Service-Token"),
    tokenPrefix: fc.constantFrom("", "Bearer"),
    additionalClaims: fc.dictionary(fc.constantFrom("one", "two", "three"), template, { maxKeys: 3 }),
  },
  { requiredKeys: ["headerName"] },
);

const policy = fc.record({
  match: fc.record({
    path: optional(path),
    methods: optional(fc.subarray(["GET", "POST", "TRACE"], { minLength: 1 })),
    hosts: optional(fc.subarray(["a.example", "*.b.example"], { minLength: 1 })),
  }),
  authenticate: fc.shuffledSubarray(
    ["header", "bearer", "query", "dotted", "cookie", "near", "far", "anonymous"],
    {
      minLength: 1,
    },
  ),
  require: optional(
    fc.constantFrom({ scopes: ["read"] }, { claims: { plan: ["gold"] } }, { subjects: ["acme", "alice"] }),
  ),
  token: fc.oneof({ arbitrary: token, weight: 4 }, { arbitrary: fc.constant("none"), weight: 1 }),
  hasOwnUpstream: fc.boolean(),
});
type Policy = typeof policy extends fc.Arbitrary<infer T> ? T : never;

const secret = mostly([...SECRETS], ["wrong-secret", ""]);
const field = fc.oneof(
  fc.tuple(fc.constantFrom("X-Api-Key", "x-api-key", "X_Api_Key", "X.Key"), secret),
  fc.tuple(
    fc.constant("Authorization"),
    secret.map((value) => `Bearer ${value}`),
  ),
  fc.tuple(fc.constant("Authorization"), fc.constant("Basic YTpi")),
  fc.tuple(
    fc.constant("Cookie"),
    secret.map((value) => `a=b; session=${value}`),
  ),
  fc.tuple(fc.constantFrom("X-User", "X-Far-User", "X_User", "X-User-Mail"), fc.constantFrom("alice", "bob")),
  fc.tuple(fc.constant("X-Region"), fc.constantFrom("eu", "us", "")),
  fc.tuple(fc.constantFrom("X-Service-Token", "x.service.token"), fc.constant("forged")),
  fc.constantFrom<[string, string]>(
    ["X-Forwarded-For", "1.2.3.4"],
    ["X-Forwarded-Host", "x.b.example"],
    ["X-Forwarded-Proto", "https"],
    ["Forwarded", "for=1.2.3.4"],
    ["Te", "trailers"],
  ),
);

const request = fc.record({
  method: mostly(["GET", "POST"], ["TRACE"]),
  path: mostly(
    ["/orders/42", "/orders", "/orders/", "/", "/files/a/b", "/a%20b", "/%6frders"],
    ["/a%2fb", "/a//b", "/a/../b", "/__issuer/nothing"],
  ),
  query: fc.oneof(
    fc.constantFrom("", "?q=1", "?q=1&q=2", "?k%65y=wrong"),
    secret.map((value) => `?q=a%20b&key=${value}`),
  ),
  hosts: mostly(
    [["a.example"], ["A.example.:80"], ["x.b.example"]],
    [["c.example"], ["a.example", "c.example"]],
  ),
  fields: fc.array(field, { maxLength: 4 }),
});
type Request = typeof request extends fc.Arbitrary<infer T> ? T : never;

/** Two fields that are seldom generated together, to a sidecar that believes both. */
const TWO_KINDS_OF_FORWARDING: Request = {
  method: "GET",
  path: "/orders",
  query: "",
  hosts: ["a.example"],
  fields: [
    ["X-Forwarded-For", "1.2.3.4"],
    ["Forwarded", "for=5.6.7.8"],
  ],
};
const OPEN_TO_ALL: Policy = {
  match: { path: undefined, methods: undefined, hosts: undefined },
  authenticate: ["anonymous"],
  require: undefined,
  token: { headerName: "Authorization" },
  hasOwnUpstream: false,
};

/** What can be seen of a request from outside. */
interface Seen {
  readonly status: number | "forwarded";
  readonly code: string | undefined;
  readonly target: string | undefined;
  readonly upstream: string | undefined;
  readonly claims: unknown;
  /** The field lines that were not forwarded as they were sent. */
  readonly removed: readonly string[];
}

test("explain says of every request what becomes of it", { timeout: 60_000 }, async () => {
  await using first = await startBackend();
  await using second = await startBackend();
  const seen = new Set<string>();
  await fc.assert(
    fc.asyncProperty(
      fc.array(policy, { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      fc.boolean(),
      fc.array(request, { minLength: 8, maxLength: 12 }),
      async (policies, forwardCredential, trustsProxy, requests) => {
        const yaml = `${configurationOf(policies, forwardCredential, second.url)}trustedProxies: [${trustsProxy ? "127.0.0.1" : ""}]\n`;
        await using sidecar = await startSidecar(first.url, { yaml });
        const keys = await borrowKeys(sidecar.config);
        await using stage = await openStage(sidecar.config, keys);
        for (const one of requests) {
          const real = await seenFrom(sidecar, one, [first, second]);
          const explained = await explainedAs(one);
          expect(explained.seen).toEqual(real.seen);
          if (real.policy !== undefined) expect(explained.policy).toBe(real.policy);
          seen.add(`${real.seen.code ?? real.seen.status}`);
        }

        async function explainedAs({ method, path, query, hosts, fields }: Request) {
          const lines = [...hosts.map((host) => ["Host", host] as const), ...fields];
          const imagined = { method, url: path + query, fields: lines, from: "127.0.0.1" };
          const explanation = explain(sidecar.config, imagined, await stage.rehearse(imagined), keys);
          const { refusal, outcome, target, upstream, token, policy, removedFields } = explanation;
          const claims = token && Object.fromEntries(token.claims.map(({ name, value }) => [name, value]));
          return {
            policy,
            seen: {
              status: outcome === "issuer" ? 404 : (refusal?.status ?? "forwarded"),
              code: outcome === "issuer" ? "ERR_ISSUER_PATH_UNKNOWN" : refusal?.code,
              target: target ?? undefined,
              upstream: upstream ?? undefined,
              claims: withoutTimes(claims ?? undefined),
              removed: removedFields.map(({ name }) => name).sort(),
            } satisfies Seen,
          };
        }
      },
    ),
    { numRuns: 100, examples: [[[OPEN_TO_ALL], false, true, [TWO_KINDS_OF_FORWARDING]]] },
  );
  // All of these were met, or the agreement says little.
  expect([...seen].sort()).toEqual(expect.arrayContaining(OUTCOMES));
});

const OUTCOMES = [
  "ERR_CREDENTIAL_INVALID",
  "ERR_CREDENTIAL_MISSING",
  "ERR_FORWARDED_AMBIGUOUS",
  "ERR_HOST_INVALID",
  "ERR_ISSUER_PATH_UNKNOWN",
  "ERR_METHOD_NOT_ALLOWED",
  "ERR_NO_POLICY",
  "ERR_REQUIREMENT_NOT_MET",
  "ERR_TARGET_AMBIGUOUS",
  "forwarded",
];

function configurationOf(policies: readonly Policy[], forwardCredential: boolean, upstream: string): string {
  const named = policies.map(({ hasOwnUpstream, require, token, authenticate, ...policy }, index) => ({
    name: `policy-${index}`,
    ...policy,
    authenticate,
    // Where nobody is asked nobody can meet a requirement, and the file is refused.
    ...(require && authenticate.some((name) => name !== "anonymous") && { require }),
    token: token === "none" ? token : withPolicyName(token, index),
    ...(hasOwnUpstream && { upstream }),
  }));
  return `${AUTHENTICATORS(forwardCredential)}policies: ${JSON.stringify(named)}\n`;
}

/** So that the backend's token says which policy it was. */
function withPolicyName(token: Exclude<Policy["token"], string>, index: number) {
  return { ...token, additionalClaims: { ...token.additionalClaims, policy: `policy-${index}` } };
}

const agent = new Agent({ keepAlive: false });

async function seenFrom(
  { port, config }: TestSidecar,
  { method, path, query, hosts, fields }: Request,
  backends: readonly TestBackend[],
): Promise<{ seen: Seen; policy: string | undefined }> {
  for (const { requests } of backends) requests.length = 0;
  const headers = [...hosts.flatMap((host) => ["Host", host]), ...fields.flat()];
  // Explanations show no credential.
  const mask = credentialMask(config, { rawFields: headers, requestTarget: path + query });
  const options = { port, host: "127.0.0.1", method, path: path + query, headers, setHost: false, agent };
  const clientRequest = sendRequest(options).end();
  const [response] = (await once(clientRequest, "response")) as [IncomingMessage];
  const body = await text(response);
  const backend = backends.find(({ requests }) => requests.length > 0);
  const arrived = backend?.requests[0];
  const claims = arrived && claimsIn(arrived.headers);
  return {
    policy: claims?.policy as string | undefined,
    seen: {
      status: arrived ? "forwarded" : (response.statusCode ?? 0),
      code: arrived ? undefined : (JSON.parse(body) as { code: string }).code,
      target: arrived && mask(arrived.url),
      upstream: backend?.url,
      claims: masked(withoutTimes(claims), mask),
      removed: arrived
        ? fields
            .filter((line) => !arrives(line, arrived.rawHeaders))
            .map(([name]) => name)
            .sort()
        : [],
    },
  };
}

/** Spaces around a value are none of it (RFC 9110 §5.5). */
function arrives([name, value]: readonly [string, string], rawHeaders: readonly string[]): boolean {
  return rawHeaders.some(
    (other, index) => index % 2 === 0 && other === name && rawHeaders[index + 1] === value.trim(),
  );
}

function masked(value: unknown, mask: Mask): unknown {
  if (value === undefined) return undefined;
  return JSON.parse(JSON.stringify(value), (_key, member) =>
    typeof member === "string" ? mask(member) : member,
  );
}

/** The claims of whichever field holds a JWT. */
function claimsIn(headers: IncomingMessage["headers"]): Record<string, unknown> | undefined {
  const jwt = [headers.authorization, headers["x-service-token"]]
    .map((value) => String(value ?? "").replace(/^Bearer /, ""))
    .find((value) => value.startsWith("ey"));
  return jwt === undefined ? undefined : decodeJwt(jwt);
}

/** Times differ, and a sidecar on any free port has another issuer URL. */
function withoutTimes(claims: Record<string, unknown> | undefined): unknown {
  if (!claims) return undefined;
  const { iat: _iat, exp: _exp, iss: _iss, ...rest } = claims;
  return rest;
}
