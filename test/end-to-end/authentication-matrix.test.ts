import { writeFileSync } from "node:fs";
import { join } from "node:path";
import bcrypt from "bcrypt";
import { decodeJwt } from "jose";
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { hashPassword } from "../../src/policy/authenticators/password-hash.ts";
import { apiKeyEntry } from "../support/api-keys.ts";
import { startBackend } from "../support/backend.ts";
import { createTestClock } from "../support/caller.ts";
import { createCa, type TestCertificate } from "../support/certificates.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { generateTestKeyPair, startIdentityProvider } from "../support/identity-provider.ts";
import { exchange } from "../support/raw-client.ts";
import { ca, startTlsSidecar, type TlsSidecar } from "../support/tls-sidecar.ts";

const clock = createTestClock(Date.now());
const NOW = Math.floor(clock.now() / 1000);
const HOUR = 3600;

// What callers prove themselves with. Each text is long, so that it stands nowhere by chance.
const KEY = "a-good-key-of-acme";
const EXPIRED_KEY = "an-expired-key-of-acme";
const DISABLED_KEY = "a-disabled-key-of-acme";
const UNKNOWN_KEY = "a-key-that-nobody-knows";
const MISTYPED_KEY = `csk_${"a".repeat(43)}000000`;
const PASSWORD = "correct horse battery";
const WRONG_PASSWORD = "wrong horse battery";

const login = await startIdentityProvider({ now: clock.now });
const jwt = await login.sign();
const expiredJwt = await login.sign({ exp: NOW - HOUR });
const jwtOfAnother = await login.sign({ iss: "https://another.example" });
const jwtOfAnUnknownKey = await login.sign({}, {}, generateTestKeyPair("unknown", "ES256"));
const forgedJwt = await login.sign({}, {}, generateTestKeyPair("key-1", "ES256"));
const opaqueToken = "an-opaque-access-token";

const basic = (username: string, password: string) =>
  Buffer.from(`${username}:${password}`).toString("base64");

const seconds = (count: number) => new Date((NOW + count) * 1000);
const client = await issueCertificates();
const member = ({ x509 }: TestCertificate) => `:${x509.raw.toString("base64")}:`;

/** What a caller sends: field lines, a query, and a certificate in the handshake. */
interface Sent {
  readonly fields?: readonly string[];
  readonly query?: string;
  readonly certificate?: TestCertificate;
}

const NOTHING: Sent = {};
const fields = (...lines: string[]): Sent => ({ fields: lines });
const query = (text: string): Sent => ({ query: text });
const certificate = (shown: TestCertificate): Sent => ({ certificate: shown });

/** The `sub` of the caller; nobody, who is refused or anonymous as the policy says; or one whose credential is bad. */
type Expected = { readonly user: string } | "nobody" | "bad";

const user = (sub: string): Expected => ({ user: sub });

/** One way to say who is calling: its configuration, and requests: the case, what is sent, what is expected. */
interface Kind {
  readonly yaml: string;
  readonly rows: readonly (readonly [string, Sent, Expected])[];
}

const KEYS = `keys: [${[
  apiKeyEntry(KEY, "acme"),
  apiKeyEntry(EXPIRED_KEY, "acme", `expires: ${seconds(-1).toISOString()}`),
  apiKeyEntry(DISABLED_KEY, "acme", "disabled: true"),
].join(", ")}]`;

const users = [
  `{username: ops, passwordHash: "${await hashPassword(PASSWORD)}"}`,
  `{username: former, passwordHash: "${await hashPassword(PASSWORD)}", disabled: true}`,
].join(", ");

const folder = temporaryFolder();
const htpasswd = join(folder.path, "users.htpasswd");
writeFileSync(htpasswd, `alice:${(await bcrypt.hash(PASSWORD, 4)).replace(/^\$2b/, "$2y")}\n`);

const KINDS: Readonly<Record<string, Kind>> = {
  "API key with a scheme": {
    yaml: `{type: apiKey, ${KEYS}}`,
    rows: [
      ["valid", fields(`Authorization: Bearer ${KEY}`), user("acme")],
      ["valid, the scheme in capitals", fields(`AUTHORIZATION: BEARER   ${KEY}`), user("acme")],
      ["absent", NOTHING, "nobody"],
      ["malformed: empty", fields("Authorization: Bearer"), "bad"],
      ["malformed: a part", fields(`Authorization: Bearer ${KEY.slice(0, -1)}`), "bad"],
      ["malformed: quoted", fields(`Authorization: Bearer "${KEY}"`), "bad"],
      ["mistyped", fields(`Authorization: Bearer ${MISTYPED_KEY}`), "bad"],
      ["expired", fields(`Authorization: Bearer ${EXPIRED_KEY}`), "bad"],
      ["disabled", fields(`Authorization: Bearer ${DISABLED_KEY}`), "bad"],
      ["unknown", fields(`Authorization: Bearer ${UNKNOWN_KEY}`), "bad"],
      ["wrong scheme", fields(`Authorization: Token ${KEY}`), "nobody"],
      ["wrong scheme: none", fields(`Authorization: ${KEY}`), "nobody"],
      ["wrong place", query(`authorization=${KEY}`), "nobody"],
      ["wrong spelling", fields(`Authori_zation: Bearer ${KEY}`), "nobody"],
      ["twice", fields(`Authorization: Bearer ${KEY}`, `Authorization: Bearer ${KEY}`), "bad"],
      ["twice, of two schemes", fields(`Authorization: Bearer ${KEY}`, "Authorization: Basic YTpi"), "bad"],
    ],
  },
  "API key in a field": {
    yaml: `{type: apiKey, header: X-Api-Key, ${KEYS}}`,
    rows: [
      ["valid", fields(`X-Api-Key: ${KEY}`), user("acme")],
      ["valid, with a forged spelling", fields(`x_api_key: ${KEY}`, `x-api-key: ${KEY}`), user("acme")],
      ["absent", NOTHING, "nobody"],
      ["malformed: empty", fields("X-Api-Key:"), "bad"],
      ["mistyped", fields(`X-Api-Key: ${MISTYPED_KEY}`), "bad"],
      ["expired", fields(`X-Api-Key: ${EXPIRED_KEY}`), "bad"],
      ["disabled", fields(`X-Api-Key: ${DISABLED_KEY}`), "bad"],
      ["unknown", fields(`X-Api-Key: ${UNKNOWN_KEY}`), "bad"],
      ["with a scheme that is not wanted", fields(`X-Api-Key: Bearer ${KEY}`), "bad"],
      ["wrong place", fields(`Authorization: Bearer ${KEY}`), "nobody"],
      ["wrong spelling", fields(`X_Api_Key: ${KEY}`), "nobody"],
      ["twice", fields(`X-Api-Key: ${KEY}`, `x-api-key: ${KEY}`), "bad"],
      ["twice in one line", fields(`X-Api-Key: ${KEY}, ${KEY}`), "bad"],
    ],
  },
  "API key in the query": {
    yaml: `{type: apiKey, query: api_key, ${KEYS}}`,
    rows: [
      ["valid", query(`a=1&api_key=${KEY}&b`), user("acme")],
      ["valid, encoded", query(`api%5Fkey=%61${KEY.slice(1)}`), user("acme")],
      ["absent", query("a=1"), "nobody"],
      ["malformed: empty", query("api_key="), "bad"],
      ["malformed: no value", query("api_key"), "bad"],
      ["mistyped", query(`api_key=${MISTYPED_KEY}`), "bad"],
      ["expired", query(`api_key=${EXPIRED_KEY}`), "bad"],
      ["disabled", query(`api_key=${DISABLED_KEY}`), "bad"],
      ["unknown", query(`api_key=${UNKNOWN_KEY}`), "bad"],
      ["wrong place", { ...fields(`api_key: ${KEY}`, `Cookie: api_key=${KEY}`), query: "b" }, "nobody"],
      ["wrong spelling", query(`API_KEY=${KEY}`), "nobody"],
      ["twice", query(`api_key=${KEY}&api_key=${KEY}`), "bad"],
      ["twice, once encoded and wrong", query(`api_key=${KEY}&%61pi_key=${UNKNOWN_KEY}`), "bad"],
    ],
  },
  "API key in a cookie": {
    yaml: `{type: apiKey, cookie: session, ${KEYS}}`,
    rows: [
      ["valid", fields(`Cookie: a=1; session=${KEY}; b=2`), user("acme")],
      ["valid, quoted", fields(`Cookie: session="${KEY}"`), user("acme")],
      ["valid, in the second line", fields("Cookie: a=1", `Cookie: session=${KEY}`), user("acme")],
      ["absent", fields("Cookie: a=1"), "nobody"],
      ["malformed: empty", fields("Cookie: session="), "bad"],
      ["mistyped", fields(`Cookie: session=${MISTYPED_KEY}`), "bad"],
      ["expired", fields(`Cookie: session=${EXPIRED_KEY}`), "bad"],
      ["disabled", fields(`Cookie: session=${DISABLED_KEY}`), "bad"],
      ["unknown", fields(`Cookie: session=${UNKNOWN_KEY}`), "bad"],
      ["wrong place", fields(`session: ${KEY}`), "nobody"],
      ["wrong spelling", fields(`Cookie: Session=${KEY}`), "nobody"],
      ["twice", fields(`Cookie: session=${KEY}; session=${KEY}`), "bad"],
      ["twice, on two lines", fields(`Cookie: session=${KEY}`, `Cookie: session=${UNKNOWN_KEY}`), "bad"],
    ],
  },
  JWT: {
    yaml: `{type: jwt, issuer: "${login.url}", audience: orders, algorithms: [ES256]}`,
    rows: [
      ["valid", fields(`Authorization: Bearer ${jwt}`), user("caller")],
      ["valid, once more", fields(`authorization: bearer ${jwt}`), user("caller")],
      ["absent", NOTHING, "nobody"],
      ["malformed: empty", fields("Authorization: Bearer"), "bad"],
      ["malformed: opaque", fields(`Authorization: Bearer ${opaqueToken}`), "bad"],
      ["malformed: a part", fields(`Authorization: Bearer ${jwt.slice(0, -1)}`), "bad"],
      ["expired", fields(`Authorization: Bearer ${expiredJwt}`), "bad"],
      ["forged", fields(`Authorization: Bearer ${forgedJwt}`), "bad"],
      ["of an unknown key", fields(`Authorization: Bearer ${jwtOfAnUnknownKey}`), "bad"],
      ["of another issuer", fields(`Authorization: Bearer ${jwtOfAnother}`), "nobody"],
      ["wrong scheme", fields(`Authorization: JWT ${jwt}`), "nobody"],
      ["wrong place", { ...fields(`X-Token: ${jwt}`), query: `access_token=${jwt}` }, "nobody"],
      ["twice", fields(`Authorization: Bearer ${jwt}`, `Authorization: Bearer ${jwt}`), "bad"],
    ],
  },
  "password, with users": {
    yaml: `{type: basic, users: [${users}]}`,
    rows: [
      ["valid", fields(`Authorization: Basic ${basic("ops", PASSWORD)}`), user("ops")],
      [
        "valid, the scheme in small letters",
        fields(`Authorization: basic ${basic("ops", PASSWORD)}`),
        user("ops"),
      ],
      ["absent", NOTHING, "nobody"],
      ["malformed: empty", fields("Authorization: Basic"), "bad"],
      ["malformed: no base64", fields(`Authorization: Basic ops:${PASSWORD}`), "bad"],
      ["malformed: no colon", fields("Authorization: Basic b3Bz"), "bad"],
      ["disabled", fields(`Authorization: Basic ${basic("former", PASSWORD)}`), "bad"],
      ["wrong password", fields(`Authorization: Basic ${basic("ops", WRONG_PASSWORD)}`), "bad"],
      ["unknown user", fields(`Authorization: Basic ${basic("nobody", PASSWORD)}`), "bad"],
      ["wrong scheme", fields(`Authorization: Bearer ${basic("ops", PASSWORD)}`), "nobody"],
      ["wrong place", fields(`Proxy-Authorization: Basic ${basic("ops", PASSWORD)}`), "nobody"],
      ["twice", fields(...Array(2).fill(`Authorization: Basic ${basic("ops", PASSWORD)}`)), "bad"],
    ],
  },
  "password, with htpasswd": {
    yaml: `{type: basic, htpasswd: "${htpasswd}"}`,
    rows: [
      ["valid", fields(`Authorization: Basic ${basic("alice", PASSWORD)}`), user("alice")],
      ["absent", NOTHING, "nobody"],
      ["malformed: no base64", fields("Authorization: Basic ****"), "bad"],
      ["wrong password", fields(`Authorization: Basic ${basic("alice", WRONG_PASSWORD)}`), "bad"],
      ["unknown user", fields(`Authorization: Basic ${basic("bob", PASSWORD)}`), "bad"],
      ["wrong scheme", fields(`Authorization: Digest ${basic("alice", PASSWORD)}`), "nobody"],
      ["wrong place", query(`authorization=Basic%20${basic("alice", PASSWORD)}`), "nobody"],
      ["twice", fields(...Array(2).fill(`Authorization: Basic ${basic("alice", PASSWORD)}`)), "bad"],
    ],
  },
  "certificate of the connection": {
    yaml: "{type: clientCertificate}",
    rows: [
      ["valid", certificate(client.valid), user("orders")],
      ["absent", NOTHING, "nobody"],
      ["malformed: no name", certificate(client.nameless), "bad"],
      ["expired", certificate(client.expired), "bad"],
      ["not valid yet", certificate(client.early), "bad"],
      ["of an unknown CA", certificate(client.stranger), "bad"],
      ["wrong place", fields(`Client-Cert: ${member(client.valid)}`), "nobody"],
      ["twice, with two names", certificate(client.twoNames), "bad"],
    ],
  },
  "certificate in Client-Cert": {
    yaml: "{type: clientCertificate, from: [127.0.0.1]}",
    rows: [
      ["valid", fields(`Client-Cert: ${member(client.valid)}`), user("orders")],
      ["absent", NOTHING, "nobody"],
      ["malformed: empty", fields("Client-Cert:"), "bad"],
      ["malformed: no colons", fields(`Client-Cert: ${member(client.valid).slice(1, -1)}`), "bad"],
      ["malformed: no certificate", fields("Client-Cert: :AAAA:"), "bad"],
      ["expired", fields(`Client-Cert: ${member(client.expired)}`), "bad"],
      ["not valid yet", fields(`Client-Cert: ${member(client.early)}`), "bad"],
      ["wrong place", certificate(client.valid), "nobody"],
      ["wrong spelling", fields(`Client_Cert: ${member(client.valid)}`), "nobody"],
      ["twice", fields(...Array(2).fill(`Client-Cert: ${member(client.valid)}`)), "bad"],
    ],
  },
  "certificate in Client-Cert, from elsewhere": {
    yaml: "{type: clientCertificate, from: [192.0.2.1]}",
    rows: [["valid", fields(`Client-Cert: ${member(client.valid)}`), "nobody"]],
  },
  "header of a proxy": {
    yaml: "{type: trustedHeader, header: X-Remote-User, from: [127.0.0.1], claims: {email: X-Remote-Email}}",
    rows: [
      ["valid", fields("X-Remote-User: carol-the-caller"), user("carol-the-caller")],
      ["valid, with a forged spelling", fields("X_Remote_User: root", "X-Remote-User: carol"), user("carol")],
      ["absent", NOTHING, "nobody"],
      ["absent, with a claim", fields("X-Remote-Email: carol@example.com"), "nobody"],
      ["malformed: empty", fields("X-Remote-User:"), "bad"],
      ["wrong place", query("X-Remote-User=carol"), "nobody"],
      ["wrong spelling", fields("X_Remote_User: carol"), "nobody"],
      ["twice", fields("X-Remote-User: carol", "X-Remote-User: dave"), "bad"],
      ["a claim twice", fields("X-Remote-User: carol", "X-Remote-Email: a@b", "X-Remote-Email: c@d"), "bad"],
    ],
  },
  "header of a proxy, from elsewhere": {
    yaml: "{type: trustedHeader, header: X-Far-User, from: [192.0.2.1]}",
    rows: [["valid", fields("X-Far-User: carol-the-caller"), "nobody"]],
  },
};

/** Whatever must not be told to anybody. */
const SECRETS = [
  ...[KEY, EXPIRED_KEY, DISABLED_KEY, UNKNOWN_KEY, MISTYPED_KEY, PASSWORD, WRONG_PASSWORD, opaqueToken],
  ...[jwt, expiredJwt, jwtOfAnother, jwtOfAnUnknownKey, forgedJwt].flatMap((token) => [
    token,
    ...token.split(".").slice(1),
  ]),
  ...["ops", "former", "alice", "bob"].flatMap((name) => [
    basic(name, PASSWORD),
    basic(name, WRONG_PASSWORD),
  ]),
  ...Object.values(client).map(member),
  ...["carol-the-caller", "carol@example.com"],
];

const secretsIn = (text: string) => SECRETS.filter((secret) => text.includes(secret));

/** Each kind in a policy of its own, and in one that lets whoever shows nothing pass. */
const MODES = [
  ["", "alone"],
  [", anonymous", "or-anonymous"],
] as const;

const names = Object.keys(KINDS);
const yaml = [
  "authenticators:",
  ...names.map((name, index) => `  kind-${index}: ${KINDS[name]?.yaml}`),
  "token: {audience: backend}",
  "policies:",
  ...names.flatMap((_name, index) =>
    MODES.map(
      ([more, mode]) =>
        `  - {name: ${mode}-${index}, match: {path: /${mode}-${index}}, authenticate: [kind-${index}${more}]}`,
    ),
  ),
  "",
].join("\n");

const backend = await startBackend();
const events: unknown[] = [];
const tls = await startTlsSidecar(backend.url, {
  clientCertificate: "optional",
  yaml,
  now: clock.now,
  onPolicyEvent: (event) => events.push(event),
});

afterAll(async () => {
  await tls[Symbol.asyncDispose]();
  await backend[Symbol.asyncDispose]();
  await login[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

let printed = "";
beforeEach(() => {
  printed = "";
  backend.requests.length = 0;
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    printed += text;
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** Sends one request, and gives the bytes of the answer. */
async function exchangeWith(
  { connect }: TlsSidecar,
  path: string,
  { fields: lines = [], query: search, certificate: shown }: Sent,
): Promise<string> {
  const socket = await connect(shown && { cert: shown.cert, key: shown.key });
  const target = search === undefined ? path : `${path}?${search}`;
  const head = [`GET ${target} HTTP/1.1`, "Host: a", "Connection: close", ...lines];
  return exchange(socket, `${head.join("\r\n")}\r\n\r\n`);
}

/** What came of one request. */
async function send(path: string, sent: Sent) {
  const answer = await exchangeWith(tls, path, sent);
  const [seen] = backend.requests;
  const token = seen?.headers.authorization?.replace(/^Bearer /, "");
  return {
    answer,
    status: Number(answer.slice(9, 12)),
    code: /"code":"(\w+)"/.exec(answer)?.[1],
    sub: token && decodeJwt(token).sub,
    seen: JSON.stringify([seen?.url, seen?.rawHeaders]),
  };
}

/** What the caller gets: status, code, and who the backend hears is calling. */
function outcomeOf(expected: Expected, mode: string) {
  if (typeof expected === "object") return { status: 200, code: undefined, sub: expected.user };
  if (expected === "bad") return { status: 401, code: "ERR_CREDENTIAL_INVALID", sub: undefined };
  return mode === "or-anonymous"
    ? { status: 200, code: undefined, sub: "api-gateway" }
    : { status: 401, code: "ERR_CREDENTIAL_MISSING", sub: undefined };
}

describe.each(names.map((name, index) => [name, index] as const))("%s", (name, index) => {
  const cases = MODES.flatMap(([, mode]) =>
    (KINDS[name]?.rows ?? []).map(([title, sent, expected]) => [title, mode, sent, expected] as const),
  );

  test.each(cases)("%s, %s", async (_title, mode, sent, expected) => {
    const { answer, seen, ...outcome } = await send(`/${mode}-${index}`, sent);
    expect(outcome).toEqual(outcomeOf(expected, mode));
    expect(backend.requests).toHaveLength(outcome.status === 200 ? 1 : 0);
    // The credential that was good does not reach the backend, and nobody is told of one that was not.
    if (typeof expected === "object") expect(secretsIn(seen)).toEqual([]);
    else expect(secretsIn(answer)).toEqual([]);
    expect(secretsIn(JSON.stringify([tls.sidecar.failures, events]) + printed)).toEqual([]);
  });
});

test("a bad credential is nobody's anywhere: with every other way to say who is calling, and anonymous, beside it", async () => {
  const all = names.map((_name, index) => `kind-${index}`);
  await using everywhere = await startTlsSidecar(backend.url, {
    clientCertificate: "optional",
    yaml: yaml.replace(/policies:.*/s, `authenticate: [${all.join(", ")}, anonymous]\n`),
    now: clock.now,
  });
  for (const [title, sent, expected] of Object.values(KINDS).flatMap(({ rows }) => rows)) {
    if (expected !== "bad") continue;
    const answer = await exchangeWith(everywhere, "/", sent);
    expect([title, answer.slice(9, 12)]).toEqual([title, "401"]);
    expect(secretsIn(answer)).toEqual([]);
  }
  expect(backend.requests).toEqual([]);
});

/** Certificates of clients, as the CA of the listener made them; and of another. */
async function issueCertificates() {
  const stranger = await createCa("Another CA");
  return {
    valid: await ca.issue({ commonName: "orders" }),
    expired: await ca.issue({
      commonName: "orders",
      notBefore: seconds(-2 * HOUR),
      notAfter: seconds(-HOUR),
    }),
    early: await ca.issue({ commonName: "orders", notBefore: seconds(HOUR), notAfter: seconds(2 * HOUR) }),
    nameless: await ca.issue({}),
    twoNames: await ca.issue({ commonName: ["orders", "root"] }),
    stranger: await stranger.issue({ commonName: "orders" }),
  };
}
