import { once } from "node:events";
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { join } from "node:path";
import { decodeJwt } from "jose";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { createSidecar, parseConfig } from "../../src/index.ts";
import { startBackend, type TestBackend } from "../support/backend.ts";
import { createCa, issueForServer, type TestCertificate, writeTlsFiles } from "../support/certificates.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { type CodeBlock, codeBlocksOf, DOCUMENTS, readDocument } from "../support/documents.ts";
import { startIdentityProvider } from "../support/identity-provider.ts";

const PAGES = DOCUMENTS.filter(
  (document) =>
    document === "README.md" ||
    document === "docs/tls.md" ||
    /^docs\/authenticators\/(?!README)/.test(document),
);

/** The subjects that the pages promise, for their curl commands in order; `undefined` is a command that is refused. */
const SUBJECTS: Readonly<Record<string, readonly (string | undefined)[]>> = {
  "README.md": ["acme"],
  "docs/authenticators/api-key.md": ["acme", undefined],
  "docs/authenticators/basic.md": ["ops", undefined],
  "docs/authenticators/client-certificate.md": [
    "spiffe://example.com/orders",
    undefined,
    "spiffe://example.com/orders",
  ],
  "docs/authenticators/jwt.md": ["nightly-export", undefined],
  "docs/authenticators/trusted-header.md": ["alice", undefined],
  "docs/tls.md": ["api-gateway"],
};

/** A curl command of a page, and what is printed below it. */
interface Command {
  readonly headers: Readonly<Record<string, string>>;
  readonly showsCertificate: boolean;
  readonly from: string | undefined;
  readonly path: string;
  readonly printed: readonly string[];
}

/** What stands for a shell's variables and substitutions. */
type Words = Readonly<Record<string, string>>;

/** The curl commands for the sidecar in a block; those for others are left out. */
function commandsIn({ language, code }: CodeBlock, words: Words): Command[] {
  if (language !== "console") return [];
  return code
    .split(/^\$ /m)
    .filter((part) => part.startsWith("curl "))
    .map((part) => {
      const [line = "", ...printed] = part.split("\n");
      const fields = [...line.matchAll(/ -H (?:'([^']*)'|"((?:[^"$]|\$\([^)]*\)|\$)*)")/g)].map(
        ([, plain, withWords = ""]) => (plain ?? fillIn(withWords, words)).split(/: (.*)/s, 2),
      );
      const [, user] = / -u '([^']+)'/.exec(line) ?? [];
      if (user !== undefined) fields.push(["Authorization", `Basic ${Buffer.from(user).toString("base64")}`]);
      return {
        headers: Object.fromEntries(fields),
        showsCertificate: line.includes(" --cert "),
        from: / --interface (\S+)/.exec(line)?.[1],
        path: / https?:\/\/(?:127\.0\.0\.1|localhost):\d+(\S*)$/.exec(line)?.[1] ?? `unread: ${line}`,
        printed,
      };
    });
}

function fillIn(text: string, words: Words): string {
  return Object.entries(words).reduce((filled, [word, value]) => filled.replaceAll(word, value), text);
}

/** A sidecar of a page's YAML: only its ports, its key and the identity provider are others. */
async function startOf(yaml: string, folder: string, backend: TestBackend) {
  const file = { ...parse(yaml), issuer: { ...parse(yaml).issuer, keys: { ephemeral: true } } };
  const { config } = parseConfig(stringify(file), {
    file: join(folder, "sidecar.yaml"),
    listen: "127.0.0.1:0",
    admin: "false",
    upstream: backend.url,
  });
  const sidecar = createSidecar(config);
  const { url } = await sidecar.start();
  return { url, [Symbol.asyncDispose]: () => sidecar.close() };
}

async function send(
  url: string,
  { headers, from, path }: Command,
  tls: { ca: string } & Partial<TestCertificate>,
) {
  const { ca, cert, key } = tls;
  const options = { headers, agent: false as const, ...(from && { localAddress: from }) };
  const request = url.startsWith("https")
    ? requestHttps(`${url}${path}`, { ...options, ca, cert, key })
    : requestHttp(`${url}${path}`, options);
  request.end();
  const [response] = await once(request, "response");
  let body = "";
  for await (const piece of response) body += piece;
  return { status: response.statusCode, challenge: response.headers["www-authenticate"], body };
}

test.each(PAGES)("%s: what its curl commands get is what it says", async (page) => {
  using folder = temporaryFolder();
  await using backend = await startBackend();
  await using provider = await startIdentityProvider({ algorithm: "RS256" });
  const ca = await createCa();
  writeTlsFiles(folder.path, await issueForServer(ca), ca);
  const client = await ca.issue({
    commonName: "orders",
    names: [{ type: "url", value: "spiffe://example.com/orders" }],
  });
  const claims = { sub: "nightly-export", aud: "https://api.example.com", scope: "orders.read" };
  const words = {
    $TOKEN: await provider.sign(claims),
    $OLD_TOKEN: await provider.sign({ ...claims, exp: 1_700_000_000 }),
    "$(openssl x509 -in client.crt -outform der | base64 -w0)": client.x509.raw.toString("base64"),
  };

  const subjects: (string | undefined)[] = [];
  let yaml = "";
  for (const block of codeBlocksOf(page)) {
    if (block.language === "yaml") yaml = block.code.replaceAll("https://login.example.com", provider.url);
    // Before the first configuration it is the demo's.
    if (yaml === "") continue;
    for (const command of commandsIn(block, words)) {
      // Only Linux has all of 127.0.0.0/8 on its loopback interface.
      if (command.from !== undefined && process.platform !== "linux") {
        subjects.push(undefined);
        continue;
      }
      await using sidecar = await startOf(yaml, folder.path, backend);
      const before = backend.requests.length;
      const answer = await send(sidecar.url, command, {
        ca: ca.cert,
        ...(command.showsCertificate && client),
      });
      const [seen] = backend.requests.slice(before);
      const token = seen?.headers.authorization?.replace("Bearer ", "");
      subjects.push(token === undefined ? undefined : decodeJwt(token).sub);
      if (token !== undefined) {
        expect(answer.status).toBe(200);
        continue;
      }
      const printed = command.printed.join("\n");
      expect(`HTTP/1.1 ${answer.status} Unauthorized`).toBe(command.printed[0]);
      expect(printed).toContain(`\nwww-authenticate: ${answer.challenge}\n`);
      const { code, detail } = JSON.parse(answer.body);
      expect(printed).toContain(`"code":"${code}"`);
      if (printed.includes('"detail"')) expect(printed).toContain(`"detail":"${detail}"`);
    }
  }
  expect(subjects).toEqual(SUBJECTS[page]);
});

/** What its issuer.url leads to is no sidecar, and the page says what is told of that. */
const STATIC_ISSUER = "docs/static-issuer.md";

/** What documents write as `$env(NAME)`. */
const SECRETS = { HSM_PIN: "1234", REDIS_PASSWORD: "password", RING_KEY: "0".repeat(64) };

test.each(DOCUMENTS)("%s: every configuration in it can be used", (document) => {
  for (const { language, code, line } of codeBlocksOf(document)) {
    if (language !== "yaml") continue;
    const content = parse(code) ?? {};
    // Other files than sidecar.yaml: lists of keys, policy tests, and what Kubernetes, Compose and Prometheus read.
    const others = ["tests", "keys", "spec", "volumes", "services", "scrape_configs"];
    if (Array.isArray(content) || others.some((key) => key in content)) continue;
    const text = "upstream" in content ? code : `${code}\nupstream: http://127.0.0.1:9000\n`;
    const parsed = () => parseConfig(text, { file: `${document}:${line}`, env: SECRETS }).warnings;
    expect(parsed, `${document}:${line}`).not.toThrow();
    const doubtful = parsed().filter(({ key }) => !(document === STATIC_ISSUER && key === "issuer.url"));
    expect(doubtful, `${document}:${line}`).toEqual([]);
  }
});

test("what is commented out in sidecar.example.yaml about callers can be used", () => {
  const example = readDocument("sidecar.example.yaml");
  const [section = ""] = /^# authenticators:\n[\s\S]*?^# authenticate: .*$/m.exec(example) ?? [];
  const text = example
    .replace(section, section.replaceAll(/^# (?!Whoever)/gm, ""))
    .replace("# require:", "require:");
  const { config, warnings } = parseConfig(text, { file: "sidecar.example.yaml", env: {} });
  expect(warnings).toEqual([]);
  expect(Object.keys(config.authenticators)).toEqual(["partners", "login"]);
  expect(config.policies.map(({ require }) => require !== undefined)).toEqual([false, true, false]);
});
