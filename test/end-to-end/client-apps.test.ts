import { execFile } from "node:child_process";
import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { decodeJwt } from "jose";
import { beforeAll, expect, test } from "vitest";
import { parseConfig } from "../../src/index.ts";
import { startBackend, type TestBackend } from "../support/backend.ts";
import { startCommand, temporaryFolder } from "../support/command-line.ts";
import { blocksOf } from "../support/documents.ts";
import { freePort } from "../support/free-port.ts";
import { startIdentityProvider, type TestIdentityProvider } from "../support/identity-provider.ts";

const PAGE = "docs/client-apps.md";
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** The page shows it. */
const SECRET = "csk_PP7hPEiJZiCXyFJ8ChYivIe4l7DbikLfE7A2Bm2ozLw2nHH5L";

const [yaml = ""] = blocksOf(PAGE, "yaml");

let backend: TestBackend;
let provider: TestIdentityProvider;
let url: string;

beforeAll(async () => {
  const folder = temporaryFolder();
  backend = await startBackend();
  provider = await startIdentityProvider({ algorithm: "RS256" });
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  const own = yaml
    .replaceAll("127.0.0.1:8080", `127.0.0.1:${port}`)
    .replace("http://127.0.0.1:9000", backend.url)
    .replace("https://login.example.com", provider.url);
  writeFileSync(join(folder.path, "sidecar.yaml"), `admin: false\n${own}`);
  const sidecar = await startCommand(["serve"], { cwd: folder.path });
  return async () => {
    await sidecar[Symbol.asyncDispose]();
    await provider[Symbol.asyncDispose]();
    await backend[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  };
});

/** Asks for a token with these parameters, and calls the API with it. */
async function callWithTokenFor(
  parameters: Record<string, string>,
): Promise<{ status: number; seen: object }> {
  const response = await fetch(`${url}/__issuer/token`, {
    method: "POST",
    body: new URLSearchParams(parameters),
  });
  const { access_token: token } = (await response.json()) as { access_token: string };
  const { status } = await fetch(`${url}/orders/42`, { headers: { authorization: `Bearer ${token}` } });
  const sent = backend.requests.at(-1)?.headers.authorization?.replace(/^Bearer /, "");
  return { status, seen: sent === undefined ? {} : decodeJwt(sent) };
}

test("the file of the page is valid, and nothing in it is doubtful", () => {
  expect(parseConfig(yaml, { file: "sidecar.yaml" }).warnings).toEqual([]);
});

test("the program of the page gets a token, with which it reaches the backend as itself", async () => {
  using folder = temporaryFolder();
  symlinkSync(join(ROOT, "node_modules"), join(folder.path, "node_modules"));
  const file = join(folder.path, "client.mjs");
  writeFileSync(file, blocksOf(PAGE, "js")[0] as string);
  const { stdout } = await promisify(execFile)(process.execPath, [file], {
    env: { ...process.env, ISSUER: `${url}/__issuer`, CLIENT_SECRET: SECRET },
  });
  const token = stdout.trim();
  // The times and the id differ.
  const [shown = "{}"] = blocksOf(PAGE, "json");
  const { iat, exp, jti, ...claims } = JSON.parse(shown);
  expect(decodeJwt(token)).toMatchObject({ ...claims, iss: `${url}/__issuer` });

  const response = await fetch(`${url}/orders/42`, { headers: { authorization: `Bearer ${token}` } });
  expect(response.status).toBe(200);
  const sent = backend.requests.at(-1)?.headers.authorization ?? "";
  expect(decodeJwt(sent.replace(/^Bearer /, ""))).toMatchObject({
    sub: "acme",
    aud: "https://orders.internal",
    plan: "gold",
    client: "acme",
  });
});

test("a page exchanges its user's token, and reaches the backend as the user", async () => {
  const exchange = {
    grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
    client_id: "web-app",
    subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
  };
  const claims = { sub: "alice", aud: "web-app", scope: "openid orders.read" };
  const subjectToken = await provider.sign(claims);
  expect(await callWithTokenFor({ ...exchange, subject_token: subjectToken })).toMatchObject({
    status: 200,
    seen: { sub: "alice", client: "web-app", aud: "https://orders.internal" },
  });
  // Narrowed to what does not let it read.
  const narrow = { ...exchange, subject_token: subjectToken, scope: "openid" };
  expect((await callWithTokenFor(narrow)).status).toBe(403);
});

test("neither the user's own token nor one that was made for a backend opens the API", async () => {
  await callWithTokenFor({ grant_type: "client_credentials", client_id: "acme", client_secret: SECRET });
  const forBackend = backend.requests.at(-1)?.headers.authorization ?? "";
  expect(forBackend).toMatch(/^Bearer /);
  const ofUser = `Bearer ${await provider.sign({ aud: "web-app", scope: "orders.read" })}`;
  for (const authorization of [forBackend, ofUser])
    expect((await fetch(`${url}/orders/42`, { headers: { authorization } })).status).toBe(401);
});
