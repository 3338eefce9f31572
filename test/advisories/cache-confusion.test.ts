import { once } from "node:events";
import { Agent, get } from "node:http";
import { text } from "node:stream/consumers";
import fc from "fast-check";
import { decodeJwt } from "jose";
import { afterAll, describe, expect, test } from "vitest";
import type { JsonValue } from "../../src/issuer/claims-set.ts";
import { startBackend } from "../support/backend.ts";
import { createTestClock } from "../support/caller.ts";
import { startIdentityProvider } from "../support/identity-provider.ts";
import { sendRaw } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";

/** Who calls: the subject, and two claims that the policy passes on. */
interface Caller {
  readonly sub: string;
  readonly tenant: JsonValue;
  readonly note?: JsonValue;
}

const clock = createTestClock();
const login = await startIdentityProvider({ now: clock.now });
const backend = await startBackend((request, response) => response.end(request.headers.authorization));
const sidecar = await startSidecar(backend.url, {
  now: clock.now,
  yaml: `
authenticators:
  login: {type: jwt, issuer: "${login.url}", audience: orders, algorithms: [ES256]}
  edge: {type: trustedHeader, header: X-Remote-User, from: [127.0.0.1], claims: {tenant: X-Remote-Tenant}}
authenticate: [login, edge]
token: {audience: backend, additionalClaims: {tenant: $user(tenant), note: $user(note)}}
`,
});

afterAll(async () => {
  await sidecar.close();
  await backend[Symbol.asyncDispose]();
  await login[Symbol.asyncDispose]();
});

/** Sends a request over a connection of the agent; gives the claims of the token that the backend got for it. */
async function claimsFor(fields: Readonly<Record<string, string>>, agent: Agent) {
  const [response] = await once(get(sidecar.url, { agent, headers: fields }), "response");
  const token = (await text(response)).replace(/^Bearer /, "");
  return { token, claims: response.statusCode === 200 ? decodeJwt(token) : undefined };
}

/** What the token of a caller says, in its order, and nothing of any other caller. */
function expectedOf({ sub, tenant, note }: Caller) {
  const iat = clock.now() / 1000;
  const standard = { iss: sidecar.issuer.url, sub, aud: "backend", iat, exp: iat + 300 };
  return { ...standard, tenant, ...(note !== undefined && { note }) };
}

/** Texts that a sloppy key of a cache takes for one another, or for its own syntax. */
const awkward = fc.constantFrom(
  ...[
    "a",
    "aa",
    "A",
    "a ",
    " a",
    "a,b",
    "a|b",
    "a:b",
    "a;b",
    "a.b",
    "a\0b",
    "a\nb",
    "a b",
    "1",
    "01",
    "1.0",
    "true",
    "null",
  ],
  ...[
    'a","tenant":"a',
    '{"sub":"a"}',
    '"a"',
    "a\\",
    "\\u0061",
    '["a"]',
    "undefined",
    "__proto__",
    "[object Object]",
  ],
  // The same to the eye: composed and not, an angstrom and a ring, a Cyrillic letter, and one that is not seen.
  ...["\u00e9", "e\u0301", "\u212b", "\u00c5", "\u0430", "a\u200b", "\ufb01", "fi", "\ud83d\ude00", "\ud83d"],
);
const piece = fc.oneof(awkward, awkward, fc.string({ minLength: 1, maxLength: 4 }));
const subject = fc.oneof(
  piece,
  fc.tuple(piece, piece).map(([a, b]) => a + b),
);
const claim: fc.Arbitrary<JsonValue> = fc.oneof(
  subject,
  fc.constantFrom<JsonValue>(
    1,
    "1",
    1.5,
    true,
    "true",
    false,
    [],
    {},
    ["a"],
    ["a", "b"],
    ["a,b"],
    ["1"],
    [1],
  ),
  // The order of members is part of what is signed.
  fc.constantFrom<JsonValue>({ a: 1, b: 2 }, { b: 2, a: 1 }, { a: { b: 2 } }, { "a.b": 2 }, { a: 1, b: "2" }),
);
/** Others who are nearly the same caller: a part moved from one claim to the next, text for number, one claim less. */
function lookalikesOf({ sub, tenant, note }: Caller): Caller[] {
  const texts = [tenant, note].map((value) => (typeof value === "string" ? value : JSON.stringify(value)));
  const [tenantText = "", noteText = ""] = texts;
  return [
    { sub, tenant, ...(note !== undefined && { note }) },
    { sub, tenant },
    { sub, tenant: tenantText, note: noteText },
    { sub, tenant: [tenant] },
    { sub, tenant: `${tenantText}${noteText}` },
    ...["", "|", ",", ":"].flatMap((between) => [
      { sub: `${sub}${between}${tenantText}`, tenant: noteText },
      { sub, tenant: `${tenantText}${between}${noteText}`, note: "" },
    ]),
    { sub: sub.normalize("NFD"), tenant },
    { sub: sub.toUpperCase(), tenant },
    { sub, tenant: JSON.stringify({ tenant, note }) },
    { sub: JSON.stringify({ sub, tenant }), tenant: noteText },
  ];
}

const caller: fc.Arbitrary<Caller> = fc.record(
  { sub: subject, tenant: claim, note: claim },
  { requiredKeys: ["sub", "tenant"] },
);
/** Callers who are alike, and one who is not; each calls again and again, between the others, in any order. */
const traffic = fc
  .tuple(caller, caller)
  .map(([one, other]) => [...lookalikesOf(one), other])
  .chain((callers) =>
    fc.tuple(
      fc.constant(callers),
      fc.array(fc.nat(callers.length - 1), { minLength: callers.length, maxLength: 30 }),
    ),
  );

describe("a token is never another caller's, however alike they are and however their requests mix (CVE-2026-35030)", () => {
  test.each([
    ["one after the other on one connection", 1],
    ["on many connections at once", 8],
  ])("%s", async (_title, maxSockets) => {
    await fc.assert(
      fc.asyncProperty(traffic, async ([callers, order]) => {
        using agent = disposable(new Agent({ keepAlive: true, maxSockets }));
        const jwts = await Promise.all(callers.map((claims) => login.sign({ ...claims })));
        const answers = await Promise.all(
          order.map((index) => claimsFor({ authorization: `Bearer ${jwts[index]}` }, agent.agent)),
        );
        for (const [place, index] of order.entries())
          expect(JSON.stringify(answers[place]?.claims)).toBe(
            JSON.stringify(expectedOf(callers[index] as Caller)),
          );
      }),
      { numRuns: 60 },
    );
  });
});

test("requests that are pipelined on one connection, slow and quick ones by turns, each get their own answer", async () => {
  const verifiedBefore = await login.sign({ sub: "quick", tenant: "a" });
  const head = (fields: string) => `GET / HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n`;
  await sendRaw(sidecar.port, head(`Connection: close\r\nAuthorization: Bearer ${verifiedBefore}`));
  const subjects: string[] = [];
  let bytes = "";
  for (let round = 0; round < 5; round++) {
    const slow = `slow-${round}`;
    const jwt = await login.sign({ sub: slow, tenant: "a" });
    bytes += head(`Authorization: Bearer ${jwt}`) + head(`Authorization: Bearer ${verifiedBefore}`);
    bytes += head(`X-Remote-User: named-${round}`) + head(`Authorization: Bearer ${jwt}x`);
    subjects.push(slow, "quick", `named-${round}`, "401");
  }
  const answer = await sendRaw(sidecar.port, bytes + head("X-Remote-User: last\r\nConnection: close"));
  const answers = answer.split(/(?=HTTP\/1\.1 )/).map((one) => {
    const [token] = /(?<=^Bearer )\S+/m.exec(one) ?? [];
    return token === undefined ? one.slice(9, 12) : decodeJwt(token).sub;
  });
  expect(answers).toEqual([...subjects, "last"]);
});

test("callers with the same claims, and only they, share a token", async () => {
  using agent = disposable(new Agent({ keepAlive: true }));
  const tokenOf = async (claims: Caller) => {
    const jwt = await login.sign({ ...claims });
    return (await claimsFor({ authorization: `Bearer ${jwt}` }, agent.agent)).token;
  };
  const distinct: Caller[] = [
    { sub: "share", tenant: "1" },
    { sub: "share", tenant: 1 },
    { sub: "share", tenant: ["1"] },
    { sub: "share", tenant: { a: 1, b: 2 } },
    { sub: "share", tenant: { b: 2, a: 1 } },
    { sub: "share 1", tenant: "" },
    { sub: "share", tenant: "1", note: "" },
    { sub: "\u00e9", tenant: "1" },
    { sub: "e\u0301", tenant: "1" },
  ];
  const first: string[] = [];
  const second: string[] = [];
  for (const one of distinct) first.push(await tokenOf(one));
  for (const one of distinct) second.push(await tokenOf(one));
  expect(new Set(first).size).toBe(distinct.length);
  expect(second).toEqual(first);
});

test("a caller that a proxy names does not get the token of one with a JWT who claims more", async () => {
  using agent = disposable(new Agent({ keepAlive: true, maxSockets: 1 }));
  const jwt = await login.sign({ sub: "dave", tenant: "a", note: "root" });
  const proxied = { "x-remote-user": "dave", "x-remote-tenant": "a" };
  for (let round = 0; round < 3; round++) {
    const [own, named] = await Promise.all([
      claimsFor({ authorization: `Bearer ${jwt}` }, agent.agent),
      claimsFor(proxied, agent.agent),
    ]);
    expect(own.claims).toMatchObject({ sub: "dave", tenant: "a", note: "root" });
    expect(named.claims).toMatchObject({ sub: "dave", tenant: "a" });
    expect(named.claims).not.toHaveProperty("note");
  }
});

test("a token of one caller does not outlive what its own JWT says of the time", async () => {
  using agent = disposable(new Agent({ keepAlive: true, maxSockets: 1 }));
  const exp = clock.now() / 1000 + 10;
  const short = await login.sign({ sub: "erin", tenant: "a", exp });
  const long = await login.sign({ sub: "erin", tenant: "a" });
  const statusOf = async (jwt: string) =>
    (await claimsFor({ authorization: `Bearer ${jwt}` }, agent.agent)).claims?.sub;
  expect([await statusOf(short), await statusOf(long)]).toEqual(["erin", "erin"]);
  clock.pass(10 + 60);
  expect([await statusOf(short), await statusOf(long)]).toEqual([undefined, "erin"]);
});

function disposable(agent: Agent) {
  return { agent, [Symbol.dispose]: () => agent.destroy() };
}
