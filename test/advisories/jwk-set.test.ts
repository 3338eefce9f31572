import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { jwkOf, pemOf, privateKeyFor } from "../issuer/keys/key-material.ts";
import { startBackend } from "../support/backend.ts";
import { runCommand, startCommand, temporaryFolder } from "../support/command-line.ts";
import { startSidecar } from "../support/sidecar.ts";

const ALGORITHMS = ["EdDSA", "ES256", "RS256"] as const;
/** All that a key in the JWK Set may have, by the kind of key. */
const MEMBERS: Readonly<Record<string, readonly string[]>> = {
  OKP: ["alg", "crv", "kid", "kty", "use", "x"],
  EC: ["alg", "crv", "kid", "kty", "use", "x", "y"],
  RSA: ["alg", "e", "kid", "kty", "n", "use"],
};

/** Expects public members alone in the JWK Set as it is sent; gives the kids. */
async function publishedKids(issuer: string): Promise<string[]> {
  const { keys } = (await (await fetch(`${issuer}/.well-known/jwks.json`)).json()) as {
    keys: Record<string, string>[];
  };
  expect(keys.length).toBeGreaterThan(0);
  for (const key of keys) expect(Object.keys(key).toSorted()).toEqual(MEMBERS[key.kty ?? ""]);
  return keys.map(({ kid = "" }) => kid);
}

test("no private member is published, whether a key was generated, imported, rotated, withdrawn or found at the next start", {
  timeout: 60_000,
}, async () => {
  await using backend = await startBackend();
  using folder = temporaryFolder();
  const policies = ALGORITHMS.map(
    (algorithm) => `{name: ${algorithm}, token: {algorithm: ${algorithm}}, match: {path: /${algorithm}}}`,
  );
  writeFileSync(
    join(folder.path, "sidecar.yaml"),
    `upstream: ${backend.url}\nlisten: 127.0.0.1:0\npolicies: [${policies.join(", ")}]\n`,
  );
  const keys = async (...arguments_: string[]) =>
    expect(await runCommand(["keys", ...arguments_], { cwd: folder.path })).toMatchObject({ code: 0 });
  let kids: string[] = [];
  {
    await using sidecar = await startCommand(["serve"], { cwd: folder.path });
    const expectChange = async () => {
      const before = kids;
      await vi.waitFor(async () => {
        kids = await publishedKids(`${sidecar.url}/__issuer`);
        expect(kids).not.toEqual(before);
      }, 40_000);
    };
    await expectChange();
    expect(kids).toHaveLength(3);

    const [mine, other] = [privateKeyFor("ES256"), privateKeyFor("EdDSA")];
    const full = { ...jwkOf(other), alg: "EdDSA", use: "sig", key_ops: ["sign"], x5c: ["a"] };
    writeFileSync(join(folder.path, "mine.pem"), pemOf(mine), { mode: 0o600 });
    writeFileSync(join(folder.path, "other.jwk"), JSON.stringify(full), { mode: 0o600 });
    await keys("import", "mine.pem");
    await expectChange();
    await keys("import", "other.jwk");
    await expectChange();
    await keys("rotate", "--algorithm", "RS256");
    await expectChange();
    expect(kids).toHaveLength(6);
    await keys("rotate", "--emergency", "--algorithm", "ES256");
    await expectChange();
  }
  await using again = await startCommand(["serve"], { cwd: folder.path });
  expect(await publishedKids(`${again.url}/__issuer`)).toEqual(kids);
});

test("nor when a file of keys is replaced", async () => {
  using folder = temporaryFolder();
  const place = (key: ReturnType<typeof privateKeyFor>) => {
    writeFileSync(join(folder.path, "new"), JSON.stringify({ ...jwkOf(key), p: "a", q: "b", k: "c" }), {
      mode: 0o600,
    });
    renameSync(join(folder.path, "new"), join(folder.path, "the.jwk"));
  };
  place(privateKeyFor("EdDSA"));
  await using sidecar = await startSidecar("http://127.0.0.1:9", {
    yaml: `issuer: {keys: {files: [${join(folder.path, "the.jwk")}]}}`,
  });
  const before = await publishedKids(`${sidecar.url}/__issuer`);
  place(privateKeyFor("EdDSA"));
  await vi.waitFor(
    async () => expect(await publishedKids(`${sidecar.url}/__issuer`)).not.toEqual(before),
    10_000,
  );
});
