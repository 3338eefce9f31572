import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { decodeJwt } from "jose";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { initialConfiguration, schemaReference } from "../../src/cli/init.ts";
import { parseConfig } from "../../src/index.ts";
import { startBackend } from "../support/backend.ts";
import { runCommand, startCommand, temporaryFolder } from "../support/command-line.ts";
import { runHere } from "./in-process.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

test("what it writes works at once, and is as valid as it can be", async () => {
  using folder = temporaryFolder();
  await using backend = await startBackend();
  const { code, stderr } = await runCommand(["init", "--from-upstream", backend.url], { cwd: folder.path });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  // It has been asked whether it answers.
  expect(backend.requests.map(({ method, url }) => `${method} ${url}`)).toEqual(["GET /"]);
  expect(await runCommand(["validate"], { cwd: folder.path })).toEqual({
    code: 0,
    stdout: "sidecar.yaml is valid; policies in order: health, everything-else\n",
    stderr: "",
  });

  const ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
  await using sidecar = await startCommand(["serve", ...ports], { cwd: folder.path });
  expect(await (await fetch(`${sidecar.url}/orders/42`)).text()).toBe("ok");
  const token = backend.requests[1]?.headers.authorization?.replace("Bearer ", "") ?? "";
  expect(decodeJwt(token)).toMatchObject({ iss: `${sidecar.url}/__issuer`, aud: "https://orders.internal" });
});

test("it says what comes next, and its commands work", async () => {
  using folder = temporaryFolder();
  const { code, stdout, stderr } = await runHere(["init"], { cwd: folder.path });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toBe(`\
sidecar.yaml is written. Next:
  countersign serve                         # run it; Ctrl-C stops it
  curl http://127.0.0.1:8080/               # a request, which reaches the backend with a token
  countersign mint | countersign verify -   # what the backend has to do with the token
  countersign doctor                        # while it runs: whether all is as it should be
`);
  const { stdout: token } = await runHere(["mint"], { cwd: folder.path });
  const verified = await runHere(["verify", "-"], { cwd: folder.path, input: token });
  expect(verified).toMatchObject({ code: 0 });
});

test("another file is named in what comes next", async () => {
  using folder = temporaryFolder();
  const { stdout } = await runHere(["init", "it's mine.yaml"], { cwd: folder.path });
  expect(stdout).toContain("it's mine.yaml is written.");
  expect(stdout).toContain("  countersign serve -c 'it'\\''s mine.yaml'  ");
  expect(existsSync(join(folder.path, "it's mine.yaml"))).toBe(true);
});

test("what exists is not overwritten", async () => {
  using folder = temporaryFolder();
  const file = join(folder.path, "sidecar.yaml");
  writeFileSync(file, "mine");
  expect(await runHere(["init"], { cwd: folder.path })).toEqual({
    code: 1,
    stdout: "",
    stderr:
      "sidecar.yaml: this file exists, and is not overwritten; name another one: countersign init FILE\n",
  });
  expect(readFileSync(file, "utf8")).toBe("mine");
  expect(await runHere(["init", "no/such/folder.yaml"], { cwd: folder.path })).toMatchObject({
    code: 1,
    stderr: "no/such/folder.yaml: the folder of this file does not exist; make it first\n",
  });
});

test("a backend that does not answer yet is a note, and no error", async () => {
  using folder = temporaryFolder();
  const { code, stderr } = await runHere(["init", "--from-upstream", "http://127.0.0.1:9"], {
    cwd: folder.path,
  });
  expect({ code, stderr }).toEqual({
    code: 0,
    stderr: "note: http://127.0.0.1:9 does not answer yet: nobody listens there\n",
  });
  expect(parse(readFileSync(join(folder.path, "sidecar.yaml"), "utf8")).upstream).toBe("http://127.0.0.1:9");
});

test("--from-upstream without sense is wrong usage, and nothing is written", async () => {
  using folder = temporaryFolder();
  expect(await runHere(["init", "--from-upstream", "nonsense"], { cwd: folder.path })).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--from-upstream: expected a URL such as "http://127.0.0.1:9000"'),
  });
  expect(existsSync(join(folder.path, "sidecar.yaml"))).toBe(false);
});

test.each(["unix:/run/app.sock", "unix:/run/a # b.sock", "https://backend.internal", "http://[::1]:9000"])(
  "the upstream %s is written as YAML reads it",
  (upstream) => {
    const text = initialConfiguration(upstream, "a.json");
    expect(parse(text).upstream).toBe(upstream);
    expect(parseConfig(text, { file: "sidecar.yaml" }).warnings).toEqual([]);
  },
);

test("what is commented out is right, too: an API key can be added as it says", async () => {
  const { stderr } = await runHere(["api-key", "create", "acme"], { cwd: ROOT });
  const [, entry = ""] = /^(- subject: acme\n[\s\S]*)$/m.exec(stderr) ?? [];
  const text = initialConfiguration("http://127.0.0.1:9", "a.json")
    .replace(/^# (authenticators:|authenticate:| {2}.*)/gm, "$1")
    .replace(/ {6}- subject: acme\n.*$/m, entry.trimEnd().replaceAll(/^/gm, "      "));
  const { config, warnings } = parseConfig(text, { file: "sidecar.yaml" });
  expect(warnings).toEqual([]);
  // Probes stay open.
  expect(config.policies).toMatchObject([
    { name: "health", authenticate: [], allowsAnonymous: true },
    { name: "everything-else", authenticate: ["partners"], allowsAnonymous: false },
  ]);
});

describe("the schema that an editor is pointed to", () => {
  const schema = readFileSync(join(ROOT, "config/sidecar.schema.json"), "utf8");

  test("is there, wherever the file is", async () => {
    using folder = temporaryFolder();
    await runHere(["init"], { cwd: folder.path });
    const [line = ""] = readFileSync(join(folder.path, "sidecar.yaml"), "utf8").split("\n");
    const [, url = ""] = /^# yaml-language-server: \$schema=(\S+)$/.exec(line) ?? [];
    expect(readFileSync(fileURLToPath(url), "utf8")).toBe(schema);
  });

  test("is named from the file where it is in a folder below it, so that the file can be moved to another machine", () => {
    expect(schemaReference(join(ROOT, "sidecar.yaml"))).toBe("./config/sidecar.schema.json");
    expect(schemaReference(join(ROOT, "docs/sidecar.yaml"))).toMatch(/^file:\/\/\//);
  });
});
