import { createPublicKey, type KeyObject } from "node:crypto";
import { chmodSync, readFileSync, readlinkSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from "jose";
import { afterAll, beforeEach, describe, expect, test, vi } from "vitest";
import { createIssuer } from "../../../src/index.ts";
import { SIGNING_ALGORITHMS, type SigningAlgorithm } from "../../../src/issuer/algorithms.ts";
import type { KeyEvent } from "../../../src/issuer/keys/key-set.ts";
import { type KeySource, openKeys } from "../../../src/issuer/keys/key-source.ts";
import { verifySignature } from "../../../src/issuer/sign.ts";
import { startBackend } from "../../support/backend.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { requireProgram } from "../../support/programs.ts";
import { startReloadable } from "../../support/reloadable.ts";
import { refuseSecrets } from "../../support/secrets.ts";
import {
  createSoftToken,
  libraryProcesses,
  PKCS11JS,
  SOFTHSM,
  SOFTHSM_LIBRARY,
  type SoftToken,
} from "../../support/softhsm.ts";
import { errorOf, needFor, privateKeyFor } from "./key-material.ts";

let shared: SoftToken | undefined;

beforeEach(async (context) => {
  requireProgram(context, SOFTHSM);
  requireProgram(context, PKCS11JS);
  if (shared) return;
  shared = createSoftToken();
  await shared.generate({ ed: "EdDSA", p256: "ES256", p384: "ES384", p521: "ES512", other: "ES256" });
  shared.import("rsa", "a1", privateKeyFor("RS256"));
});

afterAll(() => shared?.[Symbol.dispose]());

function token(): SoftToken {
  if (!shared) throw new Error("the token is not there yet");
  return shared;
}

/** Keys in this process, and what was told of them. */
async function open(source: KeySource, algorithms: readonly SigningAlgorithm[] = ["ES256"], now = Date.now) {
  const events: KeyEvent[] = [];
  const onEvent = (event: KeyEvent) => events.push(event);
  const needs = algorithms.map((algorithm) => needFor(algorithm));
  const keys = await openKeys(source, { needs, env: {}, now, onEvent });
  return { keys, events, [Symbol.asyncDispose]: () => keys.close() };
}

/** Why keys cannot be opened. */
async function refusalOf(source: KeySource, algorithm: SigningAlgorithm = "ES256"): Promise<string> {
  const { message } = await errorOf(async () => {
    await using _ = await open(source, [algorithm]);
  });
  refuseSecrets("an error", message);
  return message;
}

/** Verifies a token with what the sidecar publishes, by node:crypto alone. */
async function isVerified(jwt: string, sidecar: { url: string }): Promise<{ alg: string; isGood: boolean }> {
  const [head = "", claims = "", signature = ""] = jwt.split(".");
  const { alg, kid } = JSON.parse(Buffer.from(head, "base64url").toString());
  const jwks = await (await fetch(`${sidecar.url}/__issuer/.well-known/jwks.json`)).json();
  const jwk = (jwks as JSONWebKeySet).keys.find((key) => key.kid === kid);
  const publicKey: KeyObject = createPublicKey({ key: { ...jwk }, format: "jwk" });
  const input = Buffer.from(`${head}.${claims}`);
  const isGood = verifySignature(alg, input, publicKey, Buffer.from(signature, "base64url"));
  return { alg: jwk?.alg === alg ? alg : "another", isGood };
}

describe("a sidecar whose keys are on a token", () => {
  test("signs with every algorithm, and what it publishes verifies", async () => {
    await using backend = await startBackend();
    const { env } = token();
    const yamlFor = (rsa: SigningAlgorithm) => `upstream: ${backend.url}
${token().yaml(["ed", "p256", "p384", "p521", "rsa"])}
policies:
${["EdDSA", "ES256", "ES384", "ES512", rsa]
  .map(
    (algorithm, index) =>
      `  - {name: p${index}, match: {path: /${index}}, token: {algorithm: ${algorithm}, tokenId: true}}`,
  )
  .join("\n")}\n`;
    await using sidecar = await startReloadable(yamlFor("RS256"), { env });
    const seen: string[] = [];
    const ask = async (path: string) => {
      expect((await fetch(`${sidecar.url}/${path}`)).status).toBe(200);
      const jwt = String(backend.requests.at(-1)?.headers.authorization).replace("Bearer ", "");
      const { alg, isGood } = await isVerified(jwt, sidecar);
      expect(isGood).toBe(true);
      seen.push(alg);
    };

    for (const path of ["0", "1", "2", "3", "4"]) await ask(path);
    for (const algorithm of ["RS384", "RS512", "PS256", "PS384", "PS512"] as const) {
      await sidecar.reload(yamlFor(algorithm));
      await ask("4");
    }

    expect(new Set(seen)).toEqual(new Set(SIGNING_ALGORITHMS));
    for (const page of ["/config", "/readyz", "/metrics"])
      refuseSecrets(page, await (await fetch(`${sidecar.adminUrl}${page}`)).text());
  });

  test("replaces the process of the library that was killed, and loses no request", async () => {
    await using backend = await startBackend();
    const events: KeyEvent[] = [];
    await using sidecar = await startReloadable(
      `upstream: ${backend.url}\n${token().yaml(["p256"], "algorithm: ES256")}token: {tokenId: true}\n`,
      { env: token().env, onKeyEvent: (event) => events.push(event) },
    );
    const [pid = 0] = libraryProcesses();
    const statuses = Array.from({ length: 40 }, async (_, index) => {
      await sleep(index * 2);
      if (index === 10) process.kill(pid, "SIGKILL");
      return (await fetch(sidecar.url)).status;
    });

    expect(new Set(await Promise.all(statuses))).toEqual(new Set([200]));
    expect(libraryProcesses()).not.toContain(pid);
    expect(events).toMatchObject([{ kind: "warning", message: expect.stringContaining("SIGKILL") }]);
  });

  test("answers 503 within seconds where the library hangs, and everything else at once", async () => {
    await using backend = await startBackend();
    await using sidecar = await startReloadable(
      `upstream: ${backend.url}\n${token().yaml(["p256"], "algorithm: ES256")}policies:\n  - {name: bare, match: {path: /bare}, token: none}\n  - {name: rest, token: {tokenId: true}}\n`,
      { env: token().env },
    );
    const [pid = 0] = libraryProcesses();
    process.kill(pid, "SIGSTOP");
    // The five seconds are a tenth of that here.
    const { setTimeout: start } = globalThis;
    const timers = vi
      .spyOn(globalThis, "setTimeout")
      .mockImplementation((act: () => void, milliseconds) =>
        start(act, milliseconds === 5000 ? 500 : milliseconds),
      );
    // More than there are sessions.
    const refused = Array.from({ length: 20 }, () => fetch(sidecar.url));
    await vi.waitFor(async () => {
      const beganAt = performance.now();
      expect((await fetch(`${sidecar.url}/bare`)).status).toBe(200);
      expect(performance.now() - beganAt).toBeLessThan(1000);
    });

    const answers = await Promise.all(refused).finally(() => timers.mockRestore());
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([503]));
    expect(await answers[0]?.json()).toMatchObject({ code: "ERR_SIGNING_FAILED" });
    expect(backend.requests.map(({ url }) => url)).not.toContain("/");
    expect((await fetch(sidecar.url)).status).toBe(200);
    expect(libraryProcesses()).not.toContain(pid);
  });

  test("queues more signatures than there are sessions", async () => {
    await using opened = await open(token().source(["p256"]));
    const key = opened.keys.current().activeKey("token", "ES256")?.key;
    if (key?.kind !== "remote") throw new Error("no key on a token");
    const inputs = Array.from({ length: 100 }, (_, index) => Buffer.from(`input ${index}`));
    const signatures = await Promise.all(inputs.map((input) => key.sign(input)));
    const publicKey = createPublicKey({ key: { ...key.publicJwk }, format: "jwk" });
    expect(
      inputs.every((input, index) =>
        verifySignature("ES256", input, publicKey, signatures[index] ?? Buffer.alloc(0)),
      ),
    ).toBe(true);
  });
});

describe("a token that is gone while a sidecar runs", () => {
  test("makes it not ready, its requests 503, and is used again when it is back", async () => {
    using own = createSoftToken("own");
    own.import("p256", "b1", privateKeyFor("ES256"));
    await using backend = await startBackend();
    const events: KeyEvent[] = [];
    await using sidecar = await startReloadable(
      `upstream: ${backend.url}\n${own.yaml(["p256"], "algorithm: ES256")}token: {tokenId: true}\n`,
      { env: own.env, onKeyEvent: (event) => events.push(event) },
    );
    expect(await sidecar.check("keys")).toEqual({ ready: true });

    renameSync(own.tokens, `${own.tokens}.away`);
    process.kill(libraryProcesses()[0] ?? 0, "SIGKILL");
    await vi.waitFor(async () => expect((await fetch(sidecar.url)).status).toBe(503));
    await vi.waitFor(async () =>
      expect(await sidecar.check("keys")).toMatchObject({
        ready: false,
        reason: expect.stringContaining("token own"),
      }),
    );
    expect(await (await fetch(`${sidecar.adminUrl}/metrics`)).text()).toMatch(/countersign_keys_problem 1/);
    expect(backend.requests).toEqual([]);

    renameSync(`${own.tokens}.away`, own.tokens);
    await vi.waitFor(async () => expect(await sidecar.check("keys")).toEqual({ ready: true }), {
      timeout: 20_000,
      interval: 100,
    });
    expect((await fetch(sidecar.url)).status).toBe(200);
    expect(events.map(({ kind }) => kind).filter((kind) => kind !== "warning")).toEqual([
      "problem",
      "recovered",
    ]);
    refuseSecrets("the events", JSON.stringify(events));
  });

  test("is not used with another key under the same label", async () => {
    using own = createSoftToken("own");
    own.import("p256", "b1", privateKeyFor("ES256"));
    await using opened = await open(own.source(["p256"]));

    own.initialise();
    own.import("p256", "b2", privateKeyFor("ES256"));
    const key = opened.keys.current().activeKey("token", "ES256")?.key;
    if (key?.kind !== "remote") throw new Error("no key on a token");
    await expect(key.sign(Buffer.from("input"))).rejects.toMatchObject({ code: "ERR_KEY" });
    await opened.keys.refresh();

    expect(opened.keys.canSign()).toBe(false);
    expect(opened.events.at(-1)).toMatchObject({
      kind: "problem",
      message: "token own: key p256 is another one than before; restart to use it",
    });
    // That of the session that was lost is gone.
    await vi.waitFor(() => expect(libraryProcesses()).toHaveLength(1));
  });
});

test("a private key that was put beside the public part of another while the library was away is found out", async () => {
  using own = createSoftToken("own");
  own.import("p256", "b1", privateKeyFor("ES256"));
  await using opened = await open(own.source(["p256"]));

  own.import("p256", "b2", privateKeyFor("ES256"));
  own.run(`const destroy = (objectClass, id) => {
      m.C_FindObjectsInit(s, [{ type: p.CKA_CLASS, value: objectClass }, { type: p.CKA_ID, value: Buffer.from(id, "hex") }]);
      const [found] = m.C_FindObjects(s, 1);
      m.C_FindObjectsFinal(s);
      m.C_DestroyObject(s, found);
    };
    destroy(p.CKO_PRIVATE_KEY, "b1");
    destroy(p.CKO_PUBLIC_KEY, "b2");`);
  process.kill(libraryProcesses()[0] ?? 0, "SIGKILL");
  await vi.waitFor(() => expect(opened.keys.canSign()).toBe(false), { timeout: 5000 });
  expect(opened.events.at(-1)).toMatchObject({
    kind: "problem",
    message: expect.stringContaining("do not belong together"),
  });
  // That it is there is no proof.
  await opened.keys.refresh();
  expect(opened.keys.canSign()).toBe(false);
});

test("a key that is published only, and gone, is a problem, and no reason to sign nothing", async () => {
  using own = createSoftToken("own");
  own.import("p256", "b1", privateKeyFor("ES256"));
  own.import("spare", "b2", privateKeyFor("ES256"));
  await using opened = await open(own.source(["p256", "spare"]));
  own.run(`m.C_FindObjectsInit(s, [{ type: p.CKA_CLASS, value: p.CKO_PRIVATE_KEY }, { type: p.CKA_LABEL, value: "spare" }]);
    const [spare] = m.C_FindObjects(s, 1);
    m.C_FindObjectsFinal(s);
    m.C_DestroyObject(s, spare);`);
  await opened.keys.refresh();
  expect(opened.events.at(-1)).toMatchObject({
    kind: "problem",
    message: "token own: key spare is not on it any more",
  });
  expect(opened.keys.canSign()).toBe(true);
});

describe("keys on a token are refused, with what to do,", () => {
  test("where the library is missing, or is none", async () => {
    const library = "/usr/lib/no-such-library.so";
    expect(await refusalOf(token().source(["p256"], { library }))).toContain(
      `token countersign: the library ${library} cannot be loaded: `,
    );
    const none = token().source(["p256"], { library: import.meta.filename });
    expect(await refusalOf(none)).toContain("cannot be loaded");
  });

  test("where there is no such token, slot or label", async () => {
    expect(
      await refusalOf(token().source(["p256"], { place: { kind: "label", label: "countersing" } })),
    ).toContain("there is no token with the label countersing; there is countersign");
    expect(await refusalOf(token().source(["p256"], { place: { kind: "slot", slot: 3 } }))).toContain(
      "the token in slot 3: there is no token in slot 3; slots with one: ",
    );
    expect(await refusalOf(token().source(["p256", "p257", "p258"]))).toBe(
      "token countersign: there is no private key with the label p257, p258; make it: countersign keys generate",
    );
  });

  test("where a key fits no algorithm that is needed, or is listed for none", async () => {
    expect(await refusalOf(token().source(["p384"]))).toBe(
      "token countersign, key p384: ES256 needs an EC key on P-256, and this is an EC key on P-384",
    );
    expect(await refusalOf(token().source(["p256"]), "EdDSA")).toContain("EdDSA needs an Ed25519 key");
  });

  test("where two keys have one label, or the public key is that of another", async () => {
    using own = createSoftToken("own");
    own.import("twice", "c1", privateKeyFor("ES256"));
    own.import("twice", "c2", privateKeyFor("ES256"));
    own.import("mixed", "d1", privateKeyFor("ES256"));
    expect(await refusalOf(own.source(["twice"]))).toContain("2 private keys have the label twice");

    // The public halves change places.
    own.run(`const find = (template) => {
        m.C_FindObjectsInit(s, template);
        const found = m.C_FindObjects(s, 9);
        m.C_FindObjectsFinal(s);
        return found;
      };
      const id = (value) => [{ type: p.CKA_CLASS, value: p.CKO_PUBLIC_KEY }, { type: p.CKA_ID, value: Buffer.from(value, "hex") }];
      m.C_DestroyObject(s, find(id("d1"))[0]);
      m.C_SetAttributeValue(s, find(id("c1"))[0], [{ type: p.CKA_ID, value: Buffer.from("d1", "hex") }]);`);
    expect(await refusalOf(own.source(["mixed"]))).toBe(
      "token own, key mixed: the private and the public part of this key do not belong together",
    );
  });

  test("where the PIN is wrong, which is tried once", async () => {
    using own = createSoftToken("own");
    const wrong = own.source(["p256"], { pin: { kind: "text", text: "a wrong PIN" } });
    expect(await refusalOf(wrong)).toBe(
      "token own: the login failed: the PIN is wrong; it is not tried again, because a token locks after a few wrong ones (CKR_PIN_INCORRECT)",
    );
    // The library is not even loaded: nothing may reach the token.
    const broken = { ...wrong };
    renameSync(own.tokens, `${own.tokens}.away`);
    expect(await refusalOf(broken)).toContain("CKR_PIN_INCORRECT");
  });

  test("where the file of the PIN is missing, empty, or open to others", async () => {
    using folder = temporaryFolder();
    const file = join(folder.path, "pin");
    const source = token().source(["p256"], { pin: { kind: "file", file } });
    expect(await refusalOf(source)).toContain(`${file}: this key file cannot be read`);
    writeFileSync(file, "\n", { mode: 0o600 });
    expect(await refusalOf(source)).toBe(`${file}: empty; expected the PIN of the token`);
    writeFileSync(file, `${token().pin}\n`);
    await using opened = await open(source);
    expect(opened.keys.current().published).toHaveLength(1);
    chmodSync(file, 0o644);
    expect(await refusalOf(source)).toContain("open to other users");
  });
});

test("keys are published in the order of their list, and the first of an algorithm signs", async () => {
  await using opened = await open(token().source(["other", "p256", "ed"]), ["EdDSA", "ES256"]);
  const { keys } = opened;
  expect(keys.status().map(({ algorithm, state }) => [algorithm, state])).toEqual([
    ["ES256", "active"],
    ["ES256", "published"],
    ["EdDSA", "active"],
  ]);
  expect(keys.current().activeKey("token", "ES256")?.key).toMatchObject({ label: "other" });
  expect(JSON.stringify(keys.current().published)).not.toContain("other");
});

describe("another list of labels", () => {
  test("is taken without a restart, with a warning where a key signs too early", async () => {
    let time = Date.now();
    await using opened = await open(token().source(["p256"]), ["ES256"], () => time);
    const { keys, events } = opened;
    const list = (labels: readonly string[]) =>
      keys.adapt({
        needs: [needFor("ES256")],
        rotation: { everySeconds: undefined, overlapSeconds: 0 },
        listed: { labels, jwksMaxAgeSeconds: 300 },
      });
    await list(["p256", "other"]);
    expect(events).toEqual([]);
    expect(keys.current().published).toHaveLength(2);

    time += 299_000;
    await list(["other", "p256"]);
    expect(events).toMatchObject([
      { kind: "key", state: "active" },
      { kind: "warning", message: expect.stringContaining("has been published for 299 s") },
    ]);

    time += 2_000;
    await list(["p256", "other"]);
    await list(["other"]);
    expect(events.slice(2)).toMatchObject([
      { kind: "key", state: "active" },
      { kind: "key", state: "active" },
    ]);
    await expect(list(["missing"])).rejects.toMatchObject({ code: "ERR_KEY" });
    expect(keys.current().activeKey("token", "ES256")?.key).toMatchObject({ label: "other" });
  });
});

test("a key that can leave the token is used with a warning, and the public half of an RSA key may be the private object's", async () => {
  using own = createSoftToken("own");
  own.import("rsa", "e1", privateKeyFor("RS256"));
  own.run(`m.C_FindObjectsInit(s, [{ type: p.CKA_CLASS, value: p.CKO_PUBLIC_KEY }]);
    const [half] = m.C_FindObjects(s, 1);
    m.C_FindObjectsFinal(s);
    m.C_DestroyObject(s, half);
    const both = [{ type: p.CKA_TOKEN, value: true }, { type: p.CKA_LABEL, value: "loose" }, { type: p.CKA_ID, value: Buffer.from("e2", "hex") }];
    m.C_GenerateKeyPair(s, { mechanism: p.CKM_EC_KEY_PAIR_GEN },
      [...both, { type: p.CKA_EC_PARAMS, value: Buffer.from("06082a8648ce3d030107", "hex") }],
      [...both, { type: p.CKA_SIGN, value: true }, { type: p.CKA_SENSITIVE, value: false }, { type: p.CKA_EXTRACTABLE, value: true }]);`);
  await using opened = await open(own.source(["rsa", "loose"]), ["RS256", "ES256"]);
  expect(opened.keys.current().published.map(({ alg }) => alg)).toEqual(["RS256", "ES256"]);
  expect(opened.events).toMatchObject([
    {
      kind: "warning",
      message: expect.stringContaining("key loose is less safe than it could be: it can be taken out"),
    },
    { kind: "warning", message: expect.stringContaining("CKA_SENSITIVE is false") },
  ]);
});

test("what a library prints goes nowhere, and its process has no options of this one, nor keeps it going", async () => {
  vi.stubEnv("NODE_OPTIONS", "--trace-warnings");
  // Others of this process may end meanwhile.
  const channels = () => process.getActiveResourcesInfo().filter((resource) => resource === "PipeWrap");
  const before = channels().length;
  await using _ = await open(token().source(["p256"]));
  vi.unstubAllEnvs();
  expect(channels().length).toBeLessThanOrEqual(before);
  const [pid] = libraryProcesses();
  expect([0, 1, 2].map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))).toEqual(Array(3).fill("/dev/null"));
  expect(readFileSync(`/proc/${pid}/environ`, "utf8")).not.toContain("NODE_OPTIONS");
  expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).not.toContain(token().pin);
});

test("a library that hangs does not outlive the process that asked for it", async () => {
  const before = process.listeners("exit");
  await using opened = await open(token().source(["p256"]));
  const [pid = 0] = libraryProcesses();
  process.kill(pid, "SIGSTOP");
  const own = process.listeners("exit").filter((listener) => !before.includes(listener));
  expect(own).toHaveLength(1);
  // As where the process ends at a second signal, or while the keys are opened.
  own[0]?.call(process, 0);
  await vi.waitFor(() => expect(libraryProcesses()).not.toContain(pid));
  await opened.keys.close();
  expect(process.listeners("exit")).not.toContain(own[0]);
});

test("a library user signs with a key on a token too, and the PIN is in no error", async () => {
  const { pin, env } = token();
  const pkcs11 = { library: SOFTHSM_LIBRARY, token: "countersign", pin, keys: ["ed"] };
  const issuer = await createIssuer({ url: "https://issuer.example", keys: { pkcs11 }, env });
  const jwt = await issuer.signJwt({ subject: "someone" });
  const keys = createLocalJWKSet({ keys: [...issuer.jwks().keys] } as unknown as JSONWebKeySet);
  expect((await jwtVerify(jwt, keys)).payload.sub).toBe("someone");
  await issuer.close();
  expect(libraryProcesses()).toEqual([]);
});
