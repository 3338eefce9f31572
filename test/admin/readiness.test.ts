import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { keysReadiness, type ReadinessCheck, readinessOf } from "../../src/admin/readiness.ts";
import { keySetOf } from "../../src/issuer/keys/key-set.ts";
import { startBackend } from "../support/backend.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { sendRaw, statusesOf } from "../support/raw-client.ts";
import { type AdminSidecar, startAdminSidecar } from "./sidecar.ts";

let sidecar: AdminSidecar;
beforeAll(async () => {
  sidecar = await startAdminSidecar({ yaml: "" });
  return () => sidecar[Symbol.asyncDispose]();
});

const ask = (path: string, init: RequestInit = {}, on: AdminSidecar = sidecar) =>
  fetch(`${on.adminUrl}${path}`, init);

/** A backend whose answers wait until they are released. */
async function startHeldBackend() {
  const arrival = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const backend = await startBackend(async (_request, response) => {
    arrival.resolve();
    await release.promise;
    response.end("finished");
  });
  return Object.assign(backend, { arrived: arrival.promise, release: release.resolve });
}

/** Asks again and again until nobody listens; gives the statuses of the answers before. */
async function probeUntilRefused(url: string): Promise<number[]> {
  const statuses: number[] = [];
  for (;;)
    try {
      // On a connection of its own, as kept ones are answered for longer.
      statuses.push((await fetch(url, { headers: { connection: "close" } })).status);
    } catch {
      return statuses;
    }
}

test("a backend that is asked how it is decides with the others whether requests should be sent here", async () => {
  let status = 503;
  await using backend = await startBackend((_request, response) => void response.writeHead(status).end());
  const upstream = `upstream: {url: "${backend.url}", healthCheck: {path: /up, interval: 1s}}`;
  await using sick = await startAdminSidecar({ yaml: upstream });
  const readiness = async () => {
    const response = await ask("/readyz", {}, sick);
    const { checks } = (await response.json()) as { checks: Record<string, unknown> };
    return { status: response.status, check: checks[`upstream ${backend.url}`] };
  };
  const unhealthy = { ready: false, reason: expect.stringContaining("503") };
  await vi.waitFor(async () => expect(await readiness()).toEqual({ status: 503, check: unhealthy }), 5000);
  status = 200;
  await vi.waitFor(
    async () => expect(await readiness()).toEqual({ status: 200, check: { ready: true } }),
    5000,
  );
});

/** What /readyz says where nothing is wrong, and no backend is asked. */
const ALL_READY = { lifecycle: { ready: true }, configuration: { ready: true }, keys: { ready: true } };

describe("a probe", () => {
  test.each([
    ["/livez", { status: "live" }],
    ["/readyz", { status: "ready", checks: ALL_READY }],
    ["/readyz?verbose=1", { status: "ready", checks: ALL_READY }],
  ])("%s is answered without identity, and kept by nobody", async (path, body) => {
    const response = await ask(path);
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual(body);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      "content-type": "application/json",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
    });
  });

  test.each(["/livez", "/readyz"])("%s may be HEAD, which has the same fields and no body", async (path) => {
    const [get, head] = [await ask(path), await ask(path, { method: "HEAD" })];
    expect(head.status).toBe(get.status);
    expect(head.headers.get("content-length")).toBe(get.headers.get("content-length"));
    expect(await head.text()).toBe("");
  });

  test.each(["POST", "PUT", "DELETE", "OPTIONS"])("may not be %s", async (method) => {
    for (const path of ["/livez", "/readyz"]) {
      const response = await ask(path, { method });
      expect(response.status).toBe(405);
      expect(response.headers.get("allow")).toBe("GET, HEAD");
    }
  });

  test.each([
    ["10.1.2.3:8081", 200],
    ["[fd00::1]", 200],
    ["localhost", 200],
    ["evil.example", 400],
    ["localhost.evil.example", 400],
  ])("for the host %s is answered %d: a page on the web learns nothing", async (host, status) => {
    for (const path of ["/livez", "/readyz"]) {
      const request = `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
      expect(statusesOf(await sendRaw(sidecar.adminPort, request))).toEqual([status]);
    }
  });

  test.each(["/livez", "/readyz"])("%s on the proxy's listener is the backend's", async (path) => {
    await using backend = await startBackend();
    await using own = await startAdminSidecar({ yaml: "", upstream: backend.url });
    expect(await (await fetch(`${own.url}${path}`)).text()).toBe("ok");
    expect(backend.requests.map(({ url }) => url)).toEqual([path]);
  });
});

describe("while the sidecar stops", () => {
  const STOPPING = {
    status: "not ready",
    checks: { ...ALL_READY, lifecycle: { ready: false, reason: "the sidecar is stopping" } },
  };

  test("/readyz says so at once, and requests are answered as usual for as long as is asked", async () => {
    await using backend = await startBackend();
    await using own = await startAdminSidecar({ yaml: "", upstream: backend.url });
    const closed = own.close({ notReadySeconds: 1 });
    const readiness = await ask("/readyz", {}, own);
    expect(readiness.status).toBe(503);
    expect(await readiness.json()).toEqual(STOPPING);
    expect((await ask("/readyz", { method: "HEAD" }, own)).status).toBe(503);
    expect((await ask("/livez", {}, own)).status).toBe(200);
    const answer = await fetch(own.url);
    expect(await answer.text()).toBe("ok");
    expect(answer.headers.get("connection")).not.toBe("close");
    await closed;
    await expect(fetch(own.url)).rejects.toThrow("fetch failed");
    await expect(ask("/readyz", {}, own)).rejects.toThrow("fetch failed");
  });

  test("nothing waits unless it is asked to", async () => {
    await using own = await startAdminSidecar({ yaml: "timeouts: {notReady: 60s}" });
    await own.close();
    await expect(fetch(own.url)).rejects.toThrow("fetch failed");
  });

  test("nothing waits where nobody could hear that it is not ready", async () => {
    await using own = await startAdminSidecar({ yaml: "admin: false" });
    await own.close({ notReadySeconds: 60 });
    await expect(fetch(own.url)).rejects.toThrow("fetch failed");
  });

  test("probes are answered until the last request has ended", async () => {
    await using backend = await startHeldBackend();
    await using own = await startAdminSidecar({ yaml: "", upstream: backend.url });
    const answer = fetch(own.url);
    await backend.arrived;
    const closed = own.close();
    await probeUntilRefused(`${own.url}/__issuer/.well-known/jwks.json`);
    expect(await (await ask("/readyz", {}, own)).json()).toEqual(STOPPING);
    backend.release();
    expect(await (await answer).text()).toBe("finished");
    await closed;
    await expect(ask("/readyz", {}, own)).rejects.toThrow("fetch failed");
  });

  test("no probe meets a sidecar that has been replaced, while its requests end", async () => {
    await using backend = await startHeldBackend();
    await using own = await startAdminSidecar({ yaml: "", upstream: backend.url });
    const answer = fetch(own.url);
    await backend.arrived;
    const closed = own.close({ isReplaced: true, notReadySeconds: 60 });
    expect(await probeUntilRefused(`${own.adminUrl}/readyz`)).not.toContain(503);
    backend.release();
    expect(await (await answer).text()).toBe("finished");
    await closed;
  });

  test("a probe that keeps its connection does not hold up the end", async () => {
    await using own = await startAdminSidecar({ yaml: "" });
    const slow = sendRaw(own.adminPort, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n", 10_000);
    await ask("/livez", {}, own);
    await own.close();
    await slow;
  });
});

describe("the keys", () => {
  const NEED = { purpose: "token", algorithm: "EdDSA", longestLifetimeSeconds: 300 } as const;

  test("that cannot be read are told of, without what is in them, and the sidecar is ready as long as one signs", async () => {
    using folder = temporaryFolder();
    const yaml = `issuer: {keys: {directory: ${folder.path}/keys}}`;
    await using own = await startAdminSidecar({ yaml });
    const file = join(folder.path, "keys", "ring.9.json");
    writeFileSync(file, '{"d": "hunter2', { mode: 0o600 });
    await own.issuer.refreshKeys();
    const response = await ask("/readyz", {}, own);
    expect(response.status).toBe(200);
    const text = await response.text();
    expect(JSON.parse(text)).toMatchObject({
      status: "ready",
      checks: { keys: { ready: true, reason: expect.stringContaining(file) } },
    });
    expect(text).not.toContain("hunter2");

    rmSync(file);
    await own.issuer.refreshKeys();
    const recovered = (await (await ask("/readyz", {}, own)).json()) as { checks: object };
    expect(recovered.checks).toMatchObject({ keys: { ready: true } });
    expect(recovered.checks).not.toHaveProperty("keys.reason");
  });

  test("of which none signs are not ready, whatever else is wrong", () => {
    const check = keysReadiness(
      { current: () => keySetOf([], []), canSign: () => true },
      () => [NEED],
      () => "the disk is full",
    );
    expect(check()).toEqual([{ name: "keys", isReady: false, reason: "there is no EdDSA key that signs" }]);
  });
});

test("checks come from any number of sources, each looked at anew", () => {
  let isReady = false;
  const upstream = (): ReadinessCheck[] => [{ name: "upstream", isReady }];
  const readiness = readinessOf([() => [{ name: "lifecycle", isReady: true }], upstream]);
  expect(readiness()).toEqual([
    { name: "lifecycle", isReady: true },
    { name: "upstream", isReady: false },
  ]);
  isReady = true;
  expect(readiness().every((check) => check.isReady)).toBe(true);
});
