import { rename, writeFile } from "node:fs/promises";
import { decodeJwt } from "jose";
import { describe, expect, test, vi } from "vitest";
import type { PolicyEvent } from "../../src/index.ts";
import { apiKeyEntry } from "../support/api-keys.ts";
import { startBackend } from "../support/backend.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { sendRaw } from "../support/raw-client.ts";
import { startSidecar } from "../support/sidecar.ts";

/** A sidecar whose only policy has this module. */
async function startWithModule(source: string, { policy = "", timeout = "5s" } = {}) {
  await using stack = new AsyncDisposableStack();
  const file = `${stack.use(temporaryFolder()).path}/policy.mjs`;
  await writeFile(file, source);
  const backend = stack.use(await startBackend());
  const events: PolicyEvent[] = [];
  const sidecar = await startSidecar(backend.url, {
    onPolicyEvent: (event) => events.push(event),
    yaml: `
authenticators:
  keys: {type: apiKey, header: X-Api-Key, keys: [${apiKeyEntry("acme-key", "acme", "claims: {plan: {name: gold}}")}]}
policies:
  - name: p
    match: {path: "/orders/:id"}
    authenticate: [keys, anonymous]
    module: {file: ${file}, timeout: ${timeout}}
    ${policy || "token: {additionalClaims: {role: reader, gone: x}}"}
`,
  });
  stack.defer(() => sidecar.close());
  const owned = stack.move();
  return {
    file,
    events,
    backend,
    sidecar,
    async send(headers: Record<string, string> = {}) {
      const response = await fetch(`${sidecar.url}/orders/42?a=1`, { headers });
      const body = await response.text();
      const jwt = backend.requests.at(-1)?.headers.authorization?.replace("Bearer ", "");
      return {
        status: response.status,
        problem: response.ok ? undefined : (JSON.parse(body) as { code: string; detail: string }),
        claims: response.ok && jwt !== undefined ? decodeJwt(jwt) : undefined,
      };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

describe("the answer of a module", () => {
  test("has the last word on subject, audience and claims", async () => {
    await using it = await startWithModule(`export default async ({ user }) => ({
      subject: "tenant:" + user.sub,
      audience: ["https://a.example", "https://b.example"],
      claims: { role: "admin", gone: null, plan: user.claims.plan.name },
    })`);
    const { claims } = await it.send({ "x-api-key": "acme-key" });
    expect(claims).toMatchObject({
      sub: "tenant:acme",
      aud: ["https://a.example", "https://b.example"],
      role: "admin",
      plan: "gold",
    });
    expect(claims).not.toHaveProperty("gone");
  });

  test.each(["() => {}", "() => undefined", "async () => ({})", "() => ({deny: false})"])(
    "leaves the token as the policy has it: %s",
    async (fn) => {
      await using it = await startWithModule(`export default ${fn}`);
      expect((await it.send({ "x-api-key": "acme-key" })).claims).toMatchObject({
        sub: "acme",
        role: "reader",
        gone: "x",
      });
    },
  );

  test("refuses a request, and says why", async () => {
    await using it = await startWithModule(
      `export default ({ user }) => ({ deny: user ? "acme is on holiday" : true })`,
    );
    expect(await it.send({ "x-api-key": "acme-key" })).toMatchObject({
      status: 403,
      problem: { code: "ERR_DENIED", detail: "acme is on holiday" },
    });
    expect(await it.send()).toMatchObject({
      status: 403,
      problem: { detail: "this request is not allowed" },
    });
    expect(it.backend.requests).toEqual([]);
    expect(it.sidecar.failures).toEqual([]);
  });
});

describe("a module that fails lets nothing through:", () => {
  test.each([
    ["throws at once", "() => { throw new Error('boom') }", "boom"],
    ["throws later", "async () => { throw new Error('boom') }", "boom"],
    ["throws no error", "() => { throw 'boom' }", "boom"],
    [
      "throws what cannot be described",
      "() => { throw Object.create(null) }",
      "what was thrown cannot be described",
    ],
    [
      "throws an error without a text",
      "() => { throw Object.assign(new Error(), {message: 5, code: 'E'}) }",
      "5 (E)",
    ],
    [
      "answers with an error",
      "() => new Error('no')",
      "its answer cannot be used: expected a map, or nothing",
    ],
    [
      "answers with a Map",
      "() => new Map([['deny', true]])",
      "its answer cannot be used: expected a map, or nothing",
    ],
    ["answers a text", "() => 'yes'", "its answer cannot be used: expected a map, or nothing"],
    ["answers null", "() => null", "its answer cannot be used: expected a map, or nothing"],
    [
      "misspells deny",
      "() => ({denied: true})",
      "its answer cannot be used: unknown key denied; the keys are subject, audience, claims, deny",
    ],
    ["denies with a number", "() => ({deny: 1})", "its answer cannot be used: deny: expected true or a text"],
    [
      "gives no text as subject",
      "() => ({subject: 5})",
      "its answer cannot be used: subject: expected a text that is not empty",
    ],
    [
      "gives an empty audience",
      "() => ({audience: []})",
      "its answer cannot be used: audience: expected a text or a list of texts",
    ],
    [
      "sets exp",
      "() => ({claims: {exp: 1}})",
      "its answer cannot be used: claims: exp cannot be set; it is set by the policy's token",
    ],
    [
      "sets sub as a claim",
      "() => ({claims: {sub: 'x'}})",
      "its answer cannot be used: claims: sub cannot be set; use the key subject",
    ],
    [
      "sets exp as JSON sees it",
      "() => ({claims: {toJSON: () => ({exp: 1})}})",
      "its answer cannot be used: claims: exp cannot be set; it is set by the policy's token",
    ],
    [
      "gives claims that are a text in JSON",
      "() => ({claims: {toJSON: () => 'abc'}})",
      "its answer cannot be used: claims: expected a map",
    ],
    ["gives a circle", "() => { const c = {}; c.c = c; return {claims: c} }", /circular/i],
  ])("one that %s", async (_what, fn, cause) => {
    await using it = await startWithModule(`export default ${fn}`);
    expect(await it.send()).toMatchObject({
      status: 503,
      problem: {
        code: "ERR_MODULE_FAILED",
        detail: "the policy's own code could not decide about this request",
      },
    });
    expect(it.backend.requests).toEqual([]);
    expect(it.sidecar.failures).toMatchObject([{ code: "ERR_MODULE_FAILED" }]);
    expect(it.sidecar.failures[0]?.cause).toMatch(cause);
  });

  test("one that takes too long, which it is told", async () => {
    await using it = await startWithModule(
      `export default ({ signal }) => new Promise((resolve) => signal.addEventListener("abort", () => { globalThis.told = signal.reason.message }))`,
      { timeout: "1s" },
    );
    expect(await it.send()).toMatchObject({ status: 503, problem: { code: "ERR_MODULE_FAILED" } });
    expect(it.sidecar.failures[0]?.cause).toBe("it took longer than 1000 ms");
    expect(Reflect.get(globalThis, "told")).toBe("it took longer than 1000 ms");
    expect(it.backend.requests).toEqual([]);
  });
});

describe("what a module is told", () => {
  test("is the request as the backend will see it, without the credential", async () => {
    await using it = await startWithModule(
      `export default ({ request, user, policy }) => ({ claims: { seen: JSON.stringify({ request, user, policy }) } })`,
    );
    const { claims } = await it.send({
      "x-api-key": "acme-key",
      "x-region": "eu",
      authorization: "Bearer forged",
    });
    const seen = JSON.parse(String(claims?.seen));
    expect(seen).toMatchObject({
      request: {
        method: "GET",
        url: `${it.sidecar.url}/orders/42?a=1`,
        path: "/orders/42",
        host: "127.0.0.1",
        ip: "127.0.0.1",
        params: { id: "42" },
        headers: { "x-region": "eu" },
      },
      user: { sub: "acme", claims: { plan: { name: "gold" } } },
      policy: { name: "p" },
    });
    expect(String(claims?.seen)).not.toMatch(/acme-key|forged/);
  });

  test("is every line of a field, joined", async () => {
    await using it = await startWithModule(
      `export default ({ request }) => ({ claims: { regions: request.headers["x-region"] } })`,
    );
    await sendRaw(
      it.sidecar.port,
      "GET /orders/42 HTTP/1.1\r\nHost: a\r\nX-Region: eu\r\nx-region: us\r\nConnection: close\r\n\r\n",
    );
    const jwt = it.backend.requests[0]?.headers.authorization?.replace("Bearer ", "") ?? "";
    expect(decodeJwt(jwt).regions).toBe("eu, us");
  });

  test("is its own: what it changes there has no effect on another request", async () => {
    await using it = await startWithModule(`export default ({ request, user }) => {
      const claims = { before: user.claims.plan.name };
      user.sub = "root"; user.claims.plan.name = "stolen"; request.headers["x-region"] = "changed";
      return { claims };
    }`);
    for (let i = 0; i < 2; i++)
      expect((await it.send({ "x-api-key": "acme-key", "x-region": "eu" })).claims).toMatchObject({
        sub: "acme",
        before: "gold",
      });
    expect(it.backend.requests.map(({ headers }) => headers["x-region"])).toEqual(["eu", "eu"]);
  });

  test("includes a way to sign a further token", async () => {
    await using it = await startWithModule(
      `export default async ({ signJwt }) => ({ claims: { delegation: await signJwt({ subject: "delegate", audience: "b" }) } })`,
    );
    expect(decodeJwt(String((await it.send()).claims?.delegation))).toMatchObject({
      sub: "delegate",
      aud: "b",
    });
  });

  test("is undefined as user where the caller is anonymous", async () => {
    await using it = await startWithModule(`export default ({ user }) => ({ claims: { is: typeof user } })`);
    expect((await it.send()).claims).toMatchObject({ is: "undefined" });
  });
});

test("a module is loaded again when its file changes, and one that cannot be loaded leaves the one before", async () => {
  await using it = await startWithModule(`export default () => ({ claims: { version: 1 } })`);
  const replace = async (source: string) => {
    await writeFile(`${it.file}.new`, source);
    await rename(`${it.file}.new`, it.file);
  };
  await replace(`export default () => ({ claims: { version: 2 } })`);
  await vi.waitFor(async () => expect((await it.send()).claims).toMatchObject({ version: 2 }), 5000);

  await replace(`export default (((`);
  await vi.waitFor(
    () => expect(it.events.at(-1)).toMatchObject({ kind: "problem", key: "policies.p.module" }),
    5000,
  );
  expect((await it.send()).claims).toMatchObject({ version: 2 });

  await replace(`export default () => ({ claims: { version: 3 } })`);
  await vi.waitFor(async () => expect((await it.send()).claims).toMatchObject({ version: 3 }), 5000);
});

describe("a module that cannot be loaded stops the start:", () => {
  test.each([
    ["export const decide = () => {}", "expected a function as its default export"],
    ["export default 5", "expected a function as its default export"],
    ["throw new Error('no database')", "cannot be loaded: no database"],
    ["export default (((", /cannot be loaded: /],
  ])("%s", async (source, message) => {
    await expect(startWithModule(source)).rejects.toMatchObject({
      code: "ERR_MODULE",
      message: expect.stringMatching(message),
    });
  });
});
