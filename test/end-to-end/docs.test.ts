import { execFile } from "node:child_process";
import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { decodeJwt } from "jose";
import { expect, test } from "vitest";
import { parseConfig } from "../../src/index.ts";
import { apiKeyEntry } from "../support/api-keys.ts";
import { runCommand, temporaryFolder } from "../support/command-line.ts";
import { startSidecar } from "../support/sidecar.ts";
import { openWebSocket, startWebSocketBackend } from "../support/websocket.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** The blocks of code of a language in a document. */
function blocksOf(document: string, language: string): string[] {
  const text = readFileSync(join(ROOT, document), "utf8");
  const blocks = [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm"))];
  expect(blocks.length, `blocks of ${language} in ${document}`).toBeGreaterThan(0);
  return blocks.map(([, code = ""]) => code);
}

/** Runs a program in a folder that has installed the package, and gives what it prints. */
async function run(folder: { path: string }, program: string): Promise<string> {
  const file = join(folder.path, "program.mjs");
  writeFileSync(file, program);
  const { stdout } = await promisify(execFile)(process.execPath, [file], { cwd: folder.path });
  return stdout;
}

function folderWithPackage() {
  const folder = temporaryFolder();
  // Node.js finds the package "countersign" by its own name only from inside of it.
  writeFileSync(join(folder.path, "package.json"), "{}");
  symlinkSync(ROOT, join(folder.path, "countersign"));
  return folder;
}

const fromHere = (program: string) =>
  program.replace('from "countersign"', 'from "./countersign/dist/index.js"');

test("the program in docs/library.md that makes an issuer signs what it says", async () => {
  using folder = folderWithPackage();
  const [program = ""] = blocksOf("docs/library.md", "js");

  const token = await run(folder, `${fromHere(program)}\nconsole.log(token);\n`);

  expect(decodeJwt(token.trim())).toMatchObject({
    iss: "https://jobs.example.com/issuer",
    sub: "nightly-export",
    aud: "https://orders.internal",
    role: "reader",
  });
});

test("the program in docs/library.md that runs a sidecar ends when it has closed it", async () => {
  using folder = folderWithPackage();
  writeFileSync(
    join(folder.path, "sidecar.yaml"),
    "listen: 127.0.0.1:0\nadmin: false\nupstream: http://127.0.0.1:9\nissuer: {url: http://a/__issuer}\n",
  );
  const [, program = ""] = blocksOf("docs/library.md", "js");
  expect(await run(folder, fromHere(program))).toMatch(
    /^http:\/\/127\.0\.0\.1:\d+ signs as http:\/\/a\/__issuer\n$/,
  );
});

test("the configuration in docs/behind-a-proxy.md is valid, and names the proxies", () => {
  const [yaml = ""] = blocksOf("docs/behind-a-proxy.md", "yaml");

  const { config, warnings } = parseConfig(yaml, { file: "sidecar.yaml" });

  expect(warnings).toEqual([]);
  expect(config.trustedProxies).toEqual(["10.0.1.7", "10.0.1.8"]);
});

test("the configuration in docs/hsm.md is valid", () => {
  const [yaml = ""] = blocksOf("docs/hsm.md", "yaml");
  const { config, warnings } = parseConfig(yaml, { file: "sidecar.yaml", env: { HSM_PIN: "a PIN" } });
  expect(warnings).toEqual([]);
  expect(config.issuer.keys).toMatchObject({ kind: "pkcs11", listed: { labels: ["signing-1"] } });
});

test("the configuration in docs/identity-tokens.md is valid, and its request is answered with a token", async () => {
  const [yaml = ""] = blocksOf("docs/identity-tokens.md", "yaml");
  expect(parseConfig(yaml, { file: "sidecar.yaml" }).warnings).toEqual([]);
  const keys = "issuer:\n  keys: {ephemeral: true}\n";
  await using sidecar = await startSidecar("http://127.0.0.1:9", {
    yaml: yaml
      .replace(/^upstream:.*\n/m, "")
      .replace(/^admin:.*\n/m, "admin: 127.0.0.1:0\n")
      .replace("issuer:\n", keys),
  });
  const [command = ""] = blocksOf("docs/identity-tokens.md", "console");
  const [, header = "", url = ""] =
    /^\$ curl -H '([^']+)' 'http:\/\/127\.0\.0\.1:8081([^']+)'/.exec(command) ?? [];
  const [name = "", value = ""] = header.split(": ");

  const response = await fetch(`${sidecar.adminUrl}${url}`, { headers: { [name]: value } });

  expect(decodeJwt(await response.text())).toMatchObject({
    iss: "https://orders.example.com/__issuer",
    sub: "my-account/my-project/main-53c4947",
    aud: "https://billing.internal",
    account: "my-account",
    project: "my-project",
    deployment: "main-53c4947",
    environment_type: "production",
  });
});

test("with the configuration in docs/static-issuer.md, issuer export prints what it shows", async () => {
  const [yaml = ""] = blocksOf("docs/static-issuer.md", "yaml");
  const { warnings } = parseConfig(yaml, { file: "sidecar.yaml" });
  expect(warnings.map(({ key }) => key)).toEqual(["issuer.url"]);
  using folder = temporaryFolder();
  writeFileSync(join(folder.path, "sidecar.yaml"), yaml);
  const [first, before] = commandsOf("docs/static-issuer.md");
  await runCommand(["keys", "generate"], { cwd: folder.path });
  const { stdout, stderr } = await runCommand(first?.arguments_ ?? [], { cwd: folder.path });
  expect({ stdout, stderr }).toEqual({ stdout: first?.output, stderr: "" });
  expect(before?.arguments_).toEqual(["keys", "generate"]);
});

test("with the configuration in docs/websockets.md a browser's ticket opens a WebSocket", async () => {
  const [yaml = ""] = blocksOf("docs/websockets.md", "yaml");
  expect(parseConfig(yaml, { file: "sidecar.yaml" }).warnings).toEqual([]);
  using folder = temporaryFolder();
  const tickets = join(folder.path, "tickets.yaml");
  writeFileSync(tickets, `keys:\n  - ${apiKeyEntry("a-ticket", "alice")}\n`);
  await using backend = await startWebSocketBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: yaml.replace(/^upstream:.*\n/m, "").replace("./tickets.yaml", tickets),
  });

  const client = await openWebSocket(`${sidecar.url}/chat?ticket=a-ticket&room=1`);

  const [handshake] = backend.handshakes;
  expect(handshake?.url).toBe("/chat?room=1");
  expect(decodeJwt(String(handshake?.headers.authorization).replace("Bearer ", "")).sub).toBe("alice");
  client.terminate();
});

/** The commands that a document shows, each with what it prints. */
function commandsOf(document: string): { readonly arguments_: string[]; readonly output: string }[] {
  return blocksOf(document, "console").map((block) => {
    const [, command = "", output = ""] = /^\$ countersign (.*)\n([\s\S]*)$/.exec(block) ?? [];
    const words = command.match(/'[^']*'|\S+/g) ?? [];
    return { arguments_: words.map((word) => word.replaceAll("'", "")), output };
  });
}

const withoutTimes = (text: string) => text.replaceAll(/\b1\d{9}\b/g, "1234567890");

test.each([["docs/explain.md"], ["docs/policy-tests.md"]])(
  "the commands in %s print what it shows",
  async (document) => {
    using folder = temporaryFolder();
    const [yaml = ""] = blocksOf("docs/explain.md", "yaml");
    writeFileSync(join(folder.path, "sidecar.yaml"), yaml);
    const [tests = ""] = blocksOf("docs/policy-tests.md", "yaml");
    writeFileSync(join(folder.path, "orders.policy-test.yaml"), tests);
    for (const { arguments_, output } of commandsOf(document)) {
      const { stdout, stderr } = await runCommand(arguments_, { cwd: folder.path });
      expect(withoutTimes(stdout)).toBe(withoutTimes(output));
      expect(stderr).toBe("");
    }
  },
);
