import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { keyNeedsOf } from "../../../src/config/key-needs.ts";
import { loadConfig } from "../../../src/config/load.ts";
import { openKeys } from "../../../src/issuer/keys/key-source.ts";
import { pemOf, privateKeyFor, signingKey } from "../../issuer/keys/key-material.ts";
import { startBackend } from "../../support/backend.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { startStaticHost } from "../../support/static-host.ts";
import { storedRingIn } from "../../support/stored-ring.ts";
import { runHere } from "../in-process.ts";
import { examine } from "./sidecar.ts";

const JWKS = ".well-known/jwks.json";
const DISCOVERY = ".well-known/openid-configuration";

type Document = Record<string, unknown> & { keys: Record<string, unknown>[] };

/** An issuer at a web server that is not the sidecar, with its copy written; no sidecar runs. */
async function startStaticIssuer({ issuer = "", keys = "" } = {}) {
  const stack = new AsyncDisposableStack();
  const folder = stack.use(temporaryFolder());
  const site = join(folder.path, "site");
  mkdirSync(site);
  const host = stack.use(await startStaticHost(site));
  const backend = stack.use(await startBackend());
  const file = join(folder.path, "sidecar.yaml");
  writeFileSync(
    file,
    `upstream: ${backend.url}\nadmin: false\nlisten: 127.0.0.1:9\nissuer: {url: '${host.url}'${keys}${issuer}}\n`,
  );
  const run = async (...arguments_: string[]) => {
    const { code, stderr } = await runHere(arguments_, { cwd: folder.path });
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.not.stringContaining("countersign:") });
  };
  if (keys === "") await run("keys", "generate");
  else writeFileSync(join(folder.path, "a.pem"), pemOf(privateKeyFor("EdDSA")), { mode: 0o600 });
  await run("issuer", "export", "site");
  return {
    folder: folder.path,
    host,
    run,
    examine: () => examine(folder.path),
    /** Changes a file of the copy by hand. */
    change(path: string, change: (document: Document) => void) {
      const document = JSON.parse(readFileSync(join(site, path), "utf8")) as Document;
      change(document);
      writeFileSync(join(site, path), JSON.stringify(document));
    },
    /** What a running sidecar does at a tick: it publishes what is new, and gives it its time. */
    async tick() {
      const { config } = await loadConfig({ file });
      const opened = await openKeys(config.issuer.keys, {
        needs: keyNeedsOf(config),
        env: {},
        now: Date.now,
        onEvent: () => {},
      });
      await opened.refresh();
      await opened.close();
    },
    ring: (): { keys: { kid: string; activatesAt: string | null }[] } =>
      storedRingIn(join(folder.path, "keys")),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const REMEDY = "countersign issuer export DIR";

test("a static host with the whole copy is fine, though nobody reaches the sidecar there", async () => {
  await using issuer = await startStaticIssuer();
  await issuer.run("keys", "rotate");
  await issuer.run("issuer", "export", "site");
  const { code, findings, of } = await issuer.examine();
  expect(
    findings.filter(({ state, check }) => state === "fail" || (state === "warn" && check !== "runtime")),
  ).toEqual([
    // That the URL does not end with basePath.
    expect.objectContaining({ check: "configuration", state: "warn" }),
  ]);
  expect(code).toBe(0);
  expect(of("token")).toMatchObject([{ state: "ok" }]);
  expect(of("public keys")).toEqual([
    {
      check: "public keys",
      state: "ok",
      found: `EdDSA key ${issuer.ring().keys[1]?.kid}, which is pending, is in the public JWK Set`,
    },
  ]);
});

describe("a key that is not in the copy fails", () => {
  test("where it will sign, with the time from when on", async () => {
    await using issuer = await startStaticIssuer();
    await issuer.run("keys", "rotate");
    const kid = issuer.ring().keys[1]?.kid;
    const { code, of } = await issuer.examine();
    expect(code).toBe(1);
    expect(of("public keys")).toEqual([
      {
        check: "public keys",
        state: "fail",
        found: `EdDSA key ${kid} is not in the public JWK Set; it is pending: it signs when a sidecar has published it for long enough, and verifiers refuse its tokens then`,
        remedy: expect.stringContaining(REMEDY),
      },
    ]);
    expect(of("signing key")).toMatchObject([{ state: "ok" }]);

    await issuer.tick();
    const time = String(issuer.ring().keys[1]?.activatesAt);
    expect((await issuer.examine()).of("public keys")).toEqual([
      {
        check: "public keys",
        state: "fail",
        found: `EdDSA key ${kid} is not in the public JWK Set; it is pending: it signs from ${time}, and verifiers refuse its tokens then`,
        remedy: expect.stringMatching(`^before ${time}: .*${REMEDY}`),
      },
    ]);
  });

  test("where it signs", async () => {
    await using issuer = await startStaticIssuer();
    const other = (await signingKey("EdDSA")).publicJwk;
    issuer.change(JWKS, (document) => {
      document.keys = [other];
    });
    const { code, of } = await issuer.examine();
    expect(code).toBe(1);
    expect(of("signing key")).toMatchObject([
      {
        state: "fail",
        found: expect.stringContaining("is not in the public JWK Set"),
        remedy: expect.stringContaining(REMEDY),
      },
    ]);
    // It is not told twice; of the other nobody knows.
    expect(of("public keys")).toMatchObject([{ state: "warn" }]);
  });

  test("where tokens that it signed may still be valid", async () => {
    await using issuer = await startStaticIssuer();
    await issuer.run("keys", "generate", "--algorithm", "ES256");
    const kid = String(issuer.ring().keys[1]?.kid);
    // The configuration does not need it, but it signs for another one.
    expect((await issuer.examine()).of("public keys")).toMatchObject([
      {
        state: "fail",
        found: `ES256 key ${kid} is not in the public JWK Set; it is active: verifiers refuse its tokens`,
      },
    ]);
    await issuer.run("keys", "retire", "--", kid);
    const { code, of } = await issuer.examine();
    expect(code).toBe(1);
    expect(of("public keys")).toMatchObject([
      {
        state: "fail",
        found: expect.stringMatching(
          new RegExp(
            `^ES256 key ${kid} is not in .*; it is retiring: its tokens may be valid until 20\\S+Z, and`,
          ),
        ),
      },
    ]);
  });

  test("where it is listed second among files", async () => {
    await using issuer = await startStaticIssuer({ keys: ", keys: {files: [a.pem]}" });
    const file = join(issuer.folder, "sidecar.yaml");
    writeFileSync(
      join(issuer.folder, "b.jwk"),
      JSON.stringify({ ...privateKeyFor("ES256").export({ format: "jwk" }), alg: "ES256" }),
      {
        mode: 0o600,
      },
    );
    writeFileSync(file, readFileSync(file, "utf8").replace("[a.pem]", "[a.pem, b.jwk]"));
    const { code, of } = await issuer.examine();
    expect(code).toBe(1);
    expect(of("public keys")).toMatchObject([
      {
        state: "fail",
        found: expect.stringMatching(/^ES256 key \S+ is not in the public JWK Set; it is published/),
      },
    ]);
  });

  test("where what stands there under its kid is another key", async () => {
    await using issuer = await startStaticIssuer();
    await issuer.run("keys", "rotate");
    await issuer.run("issuer", "export", "site");
    issuer.change(JWKS, ({ keys }) => {
      Object.assign(keys[1] ?? {}, { x: keys[0]?.x });
    });
    expect((await issuer.examine()).of("public keys")).toMatchObject([
      { state: "fail", found: expect.stringContaining("is another one in the public JWK Set") },
    ]);
  });
});

test("a key in the copy that nobody has any more is told; one that was withdrawn fails", async () => {
  await using issuer = await startStaticIssuer();
  const stranger = (await signingKey("EdDSA")).publicJwk;
  issuer.change(JWKS, ({ keys }) => void keys.push(stranger));
  const doubtful = await issuer.examine();
  expect(doubtful.code).toBe(0);
  expect(doubtful.of("public keys")).toEqual([
    {
      check: "public keys",
      state: "warn",
      found: `key ${stranger.kid} is in the public JWK Set, and not among the keys of the configuration`,
      remedy: expect.stringContaining(REMEDY),
    },
  ]);

  const old = issuer.ring().keys[0]?.kid;
  await issuer.run("issuer", "export", "site");
  await runHere(["keys", "rotate", "--emergency"], { cwd: issuer.folder });
  const { code, of } = await issuer.examine();
  expect(code).toBe(1);
  expect(of("signing key")).toMatchObject([{ state: "fail" }]);
  expect(of("public keys")).toMatchObject([
    {
      state: "fail",
      found: expect.stringContaining(`key ${old} is in the public JWK Set, and was withdrawn`),
    },
  ]);
});

test("a discovery document that says something else than the configuration is told with the members", async () => {
  await using issuer = await startStaticIssuer();
  issuer.change(DISCOVERY, (document) => {
    document.jwks_uri = `${issuer.host.url}/${JWKS}?v=1`;
    document.id_token_signing_alg_values_supported = ["ES256"];
    document.added_by_hand = true;
  });
  const { of } = await issuer.examine();
  expect(of("discovery")).toMatchObject([
    { state: "ok" },
    {
      state: "warn",
      found:
        "the document says something else than the configuration of jwks_uri, id_token_signing_alg_values_supported",
      remedy: expect.stringContaining(REMEDY),
    },
  ]);

  issuer.change(DISCOVERY, (document) => {
    document.issuer = "https://elsewhere.example.com";
  });
  const other = await issuer.examine();
  expect(other.code).toBe(1);
  expect(other.of("discovery")[0]).toMatchObject({
    state: "fail",
    remedy: expect.stringContaining("issuer export"),
  });
});

test.each([
  ["public, max-age=300", "ok", "for 300 s"],
  ["public, max-age=3000", "warn", "for 3000 s, and 300 s is configured"],
  ["public, max-age=3601", "fail", "for 3601 s, and a new key signs after 3600 s (issuer.keys.overlap)"],
  ["public, max-age=300, s-maxage=86400", "fail", "for 86400 s, and a new key signs after 3600 s"],
])("a host that has verifiers keep the JWK Set as %s: %s", async (cacheControl, state, found) => {
  await using issuer = await startStaticIssuer({ issuer: ", keys: {overlap: 1h}" });
  issuer.host.headers["cache-control"] = cacheControl;
  const { code, of } = await issuer.examine();
  expect(of("caching")).toMatchObject([{ state, found: expect.stringContaining(found) }]);
  expect(code).toBe(state === "fail" ? 1 : 0);
});
