import { generateKeyPairSync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:http2";
import { createConnection } from "node:net";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { createSidecar, parseConfig } from "../../src/index.ts";
import { apiKeyEntry } from "../support/api-keys.ts";
import { startBackend } from "../support/backend.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { type Scrape, scrape } from "../support/metrics.ts";
import { sendRaw } from "../support/raw-client.ts";
import { startReloadable } from "../support/reloadable.ts";
import { passTime, startRotatingSidecar, startRotation, withdrawKey } from "../support/rotation.ts";
import { startSidecar } from "../support/sidecar.ts";
import { openWebSocket, startWebSocketBackend } from "../support/websocket.ts";

vi.setConfig({ testTimeout: 30_000 });

const ADMIN = "admin: 127.0.0.1:0\n";
const REQUESTS = "countersign_requests_total";
const KEY = "a-key-that-nobody-may-read-4711";

/** A request is counted when its response has ended here, which its client may know a little earlier. */
async function scrapeUntil(adminUrl: string | undefined, isThere: (metrics: Scrape) => boolean) {
  return vi.waitFor(
    async () => {
      const metrics = await scrape(adminUrl);
      expect(isThere(metrics), metrics.text).toBe(true);
      return metrics;
    },
    { timeout: 10_000 },
  );
}

async function ask(url: string, init: RequestInit = {}): Promise<number> {
  const response = await fetch(url, init);
  await response.arrayBuffer();
  return response.status;
}

test("/metrics is read with GET and HEAD, in the text format of Prometheus", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, { yaml: ADMIN });
  const url = `${sidecar.adminUrl}/metrics`;
  const got = await fetch(url);
  expect(got.status).toBe(200);
  expect(got.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  expect(got.headers.get("cache-control")).toBe("no-store");
  expect(await got.text()).toMatch(/^# HELP countersign_\w+ .+\n# TYPE countersign_\w+ /);
  const headed = await fetch(url, { method: "HEAD" });
  expect(headed.status).toBe(200);
  expect(Number(headed.headers.get("content-length"))).toBeGreaterThan(1000);
  expect(await headed.text()).toBe("");
  expect((await fetch(url, { method: "POST" })).status).toBe(405);
});

test("lines of the log that were dropped are counted, by whoever writes it", async () => {
  await using backend = await startBackend();
  let dropped = 0;
  await using sidecar = await startSidecar(backend.url, { yaml: ADMIN, droppedLogLines: () => dropped });
  expect((await scrape(sidecar.adminUrl)).total("countersign_log_lines_dropped_total")).toBe(0);
  dropped = 7;
  expect((await scrape(sidecar.adminUrl)).total("countersign_log_lines_dropped_total")).toBe(7);
});

test("requests are counted by policy, method and status, as they were sent", async () => {
  await using backend = await startBackend((incoming, response) => {
    response.statusCode = Number(incoming.headers["x-status"] ?? 200);
    response.end("1234567");
  });
  await using sidecar = await startSidecar(backend.url, {
    yaml: `${ADMIN}policies: [{name: orders, match: {path: "/orders/*rest"}}, {name: upload, match: {path: /upload}}]\n`,
  });
  for (let sent = 0; sent < 5; sent++) await ask(`${sidecar.url}/orders/${sent}`);
  await ask(`${sidecar.url}/orders/9`, { method: "POST", headers: { "x-status": "500" } });
  await ask(`${sidecar.url}/upload`, { method: "PUT", body: "12345" });
  await ask(`${sidecar.url}/upload`, { method: "PROPFIND" });
  await ask(`${sidecar.url}/other`);
  await ask(`${sidecar.url}/__issuer/.well-known/jwks.json`);

  const metrics = await scrapeUntil(sidecar.adminUrl, ({ total }) => total(REQUESTS) === 10);
  expect(
    metrics.samples.filter(({ name }) => name === REQUESTS).map(({ labels, value }) => [labels, value]),
  ).toEqual([
    [{ policy: "orders", method: "GET", code: "200" }, 5],
    [{ policy: "orders", method: "POST", code: "500" }, 1],
    [{ policy: "upload", method: "PUT", code: "200" }, 1],
    [{ policy: "upload", method: "other", code: "200" }, 1],
    [{ policy: "", method: "GET", code: "404" }, 1],
    [{ policy: "", method: "GET", code: "200" }, 1],
  ]);
  const orders = { policy: "orders" };
  expect(metrics.total("countersign_request_duration_seconds_count", orders)).toBe(6);
  expect(metrics.total("countersign_request_duration_seconds_bucket", { ...orders, le: "+Inf" })).toBe(6);
  expect(metrics.total("countersign_upstream_duration_seconds_count", orders)).toBe(6);
  const sum = metrics.total("countersign_upstream_duration_seconds_sum", orders);
  expect(sum).toBeGreaterThan(0);
  expect(metrics.total("countersign_request_duration_seconds_sum", orders)).toBeGreaterThan(sum);
  expect(metrics.total("countersign_request_body_bytes_total")).toBe(5);
  expect(metrics.total("countersign_response_body_bytes_total")).toBe(8 * 7);
});

test("a bucket of durations holds everything that was as fast, and nothing that was slower", async () => {
  await using backend = await startBackend(async (_request, response) => {
    await new Promise((resolve) => setTimeout(resolve, 60));
    response.end();
  });
  await using sidecar = await startSidecar(backend.url, { yaml: ADMIN });
  await ask(sidecar.url);
  const metrics = await scrapeUntil(sidecar.adminUrl, ({ total }) => total(REQUESTS) === 1);
  const upTo = (le: string) => metrics.total("countersign_upstream_duration_seconds_bucket", { le });
  expect([upTo("0.001"), upTo("0.05"), upTo("30"), upTo("+Inf")]).toEqual([0, 0, 1, 1]);
});

test("a client that leaves before its answer is counted with no status", async () => {
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
  await using backend = await startBackend(() => arrive());
  await using sidecar = await startSidecar(backend.url, { yaml: ADMIN });
  const leaving = request(sidecar.url).on("error", () => {});
  leaving.end();
  await arrived;
  expect((await scrape(sidecar.adminUrl)).total("countersign_requests_in_flight")).toBe(1);
  leaving.destroy();
  const metrics = await scrapeUntil(sidecar.adminUrl, ({ total }) => total(REQUESTS) === 1);
  expect(metrics.values(REQUESTS, "code")).toEqual(["none"]);
  expect(metrics.total("countersign_requests_in_flight")).toBe(0);
});

test("problems are counted by their code, also of what could not be read as a request", async () => {
  await using backend = await startBackend();
  await backend[Symbol.asyncDispose]();
  await using sidecar = await startSidecar(backend.url, { yaml: ADMIN });
  await ask(sidecar.url);
  await ask(`${sidecar.url}/a%2fb`);
  await sendRaw(sidecar.port, "GET / HTTP/1.1\r\nHost: a\r\nBad Field: b\r\n\r\n");
  const errors = (metrics: Scrape) =>
    metrics.samples
      .filter(({ name, value }) => name === "countersign_errors_total" && value > 0)
      .map(({ labels, value }) => [labels.code, value]);
  const metrics = await scrapeUntil(sidecar.adminUrl, (metrics) => errors(metrics).length === 3);
  expect(errors(metrics)).toEqual([
    ["ERR_REQUEST_MALFORMED", 1],
    ["ERR_TARGET_AMBIGUOUS", 1],
    ["ERR_UPSTREAM_UNREACHABLE", 1],
  ]);
});

test("what authentication came to is counted by policy and authenticator", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: `${ADMIN}
authenticators: {partners: {type: apiKey, header: X-Key, keys: [${apiKeyEntry(KEY, "acme")}]}}
policies:
  - {name: closed, match: {path: /closed}, authenticate: [partners]}
  - {name: open, authenticate: [partners, anonymous]}
`,
  });
  await ask(`${sidecar.url}/closed`, { headers: { "x-key": KEY } });
  await ask(`${sidecar.url}/closed`, { headers: { "x-key": `${KEY}x` } });
  await ask(`${sidecar.url}/closed`);
  await ask(sidecar.url);
  const name = "countersign_authentications_total";
  const metrics = await scrapeUntil(sidecar.adminUrl, ({ total }) => total(name) === 4);
  expect(metrics.samples.filter((sample) => sample.name === name).map(({ labels }) => labels)).toEqual([
    { policy: "closed", authenticator: "partners", outcome: "user" },
    { policy: "closed", authenticator: "partners", outcome: "invalid" },
    { policy: "closed", authenticator: "", outcome: "missing" },
    { policy: "open", authenticator: "", outcome: "anonymous" },
  ]);
});

test("tokens are counted as signed, reused and refused, and signatures are timed by algorithm", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: `${ADMIN}
policies:
  - {name: slow, match: {path: /slow}, token: {algorithm: RS256, audience: a}}
  - {name: large, match: {path: /large}, token: {additionalClaims: {all: $query(q)}}}
  - {name: rest, token: {audience: a}}
`,
  });
  for (let sent = 0; sent < 4; sent++) await ask(`${sidecar.url}/${sent}`);
  await ask(`${sidecar.url}/slow`);
  await ask(`${sidecar.url}/large?q=${"x".repeat(7000)}`);
  const metrics = await scrapeUntil(sidecar.adminUrl, ({ total }) => total(REQUESTS) === 6);
  const tokens = (outcome: string) => metrics.total("countersign_tokens_total", { outcome });
  expect([tokens("signed"), tokens("reused"), tokens("refused")]).toEqual([3, 3, 1]);
  const signatures = (algorithm: string) =>
    metrics.total("countersign_signing_duration_seconds_count", { algorithm });
  expect([signatures("EdDSA"), signatures("RS256")]).toEqual([2, 1]);
  expect(metrics.total("countersign_signing_duration_seconds_sum", { algorithm: "RS256" })).toBeGreaterThan(
    0,
  );
});

test("answers to tokens are told by key, so that a rotation that a backend missed is seen; and only of keys that are there", async () => {
  const answers = "countersign_upstream_token_answers_total";
  let status = 200;
  await using backend = await startBackend((_request, response) => {
    response.statusCode = status;
    response.end();
  });
  await using sidecar = await startRotatingSidecar(backend.url, { yaml: ADMIN });
  const signing = () => String(sidecar.issuer.jwks().keys[0]?.kid);
  const old = signing();
  await ask(sidecar.url);

  const { pendingSeconds, retiringSeconds } = await startRotation(sidecar);
  const before = await scrape(sidecar.adminUrl);
  expect(before.values(answers, "kid")).toHaveLength(2);
  expect(before.values("countersign_keys", "state")).toEqual(["active", "pending"]);

  passTime(pendingSeconds + 1);
  const next = signing();
  expect(next).not.toBe(old);
  status = 401;
  await ask(sidecar.url);
  await ask(sidecar.url);
  status = 403;
  await ask(sidecar.url);
  const during = await scrapeUntil(sidecar.adminUrl, ({ total }) => total(REQUESTS) === 4);
  const told = (kid: string) =>
    ["401", "403", "other"].map((answer) => during.total(answers, { kid, answer }));
  expect({ old: told(old), next: told(next) }).toEqual({ old: [0, 0, 1], next: [2, 1, 0] });
  expect(during.values("countersign_keys", "state")).toEqual(["retiring", "active"]);

  passTime(retiringSeconds + 1);
  await sidecar.issuer.refreshKeys();
  const after = await scrape(sidecar.adminUrl);
  expect(after.values(answers, "kid")).not.toContain(old);
  expect(after.text).not.toContain(old);
});

test("a key whose time has passed without a successor is overdue", async () => {
  await using backend = await startBackend();
  await using sidecar = await startRotatingSidecar(backend.url, { yaml: ADMIN });
  const next = async () =>
    (await scrape(sidecar.adminUrl)).total("countersign_key_next_transition_timestamp_seconds");
  const created = (await scrape(sidecar.adminUrl)).total("countersign_key_created_timestamp_seconds");
  expect(created).toBeCloseTo(Date.now() / 1000, -1);
  const due = await next();
  expect(due).toBeGreaterThan(Date.now() / 1000 + 86_400);
  // Nobody looks at the ring meanwhile, as where its disk has failed.
  passTime(40 * 86_400);
  expect(await next()).toBe(due);
  await sidecar.issuer.refreshKeys();
  expect(await next()).toBeGreaterThan(Date.now() / 1000);
});

test("a withdrawn key is told of no more", async () => {
  await using backend = await startBackend();
  await using sidecar = await startRotatingSidecar(backend.url, { yaml: ADMIN });
  const old = String(sidecar.issuer.jwks().keys[0]?.kid);
  await ask(sidecar.url);
  await withdrawKey(sidecar);
  expect((await scrape(sidecar.adminUrl)).text).not.toContain(old);
});

test("configurations are counted, and whether the last one is used", async () => {
  await using backend = await startBackend();
  await using sidecar = await startReloadable(`upstream: ${backend.url}`);
  const told = async () => {
    const { total } = await scrape(sidecar.adminUrl);
    const reloads = (outcome: string) => total("countersign_config_reloads_total", { outcome });
    return [
      reloads("success"),
      reloads("failure"),
      total("countersign_config_last_reload_successful"),
      total("countersign_config_last_reload_success_timestamp_seconds"),
    ] as const;
  };
  const [, , , startedAt] = await told();
  expect(startedAt).toBeCloseTo(Date.now() / 1000, -2);
  await sidecar.reload(`upstream: ${backend.url}\ntoken: {audience: a}`);
  const [, , , reloadedAt] = await told();
  expect(await told()).toEqual([1, 0, 1, reloadedAt]);
  expect(reloadedAt).toBeGreaterThan(startedAt);
  await expect(sidecar.reload("upstream: nonsense")).rejects.toThrow();
  expect(await told()).toEqual([1, 1, 0, reloadedAt]);
});

test("a policy goes on counting where a reload leaves it, and one that is gone keeps its count", async () => {
  await using backend = await startBackend();
  const yaml = (...names: string[]) =>
    `upstream: ${backend.url}\npolicies: [${names.map((name) => `{name: ${name}, match: {path: "/${name}"}}`)}]`;
  await using sidecar = await startReloadable(yaml("stays", "goes"));
  await ask(`${sidecar.url}/stays`);
  await ask(`${sidecar.url}/goes`);
  await sidecar.reload(yaml("stays", "comes"));
  await ask(`${sidecar.url}/stays`);
  const metrics = await scrapeUntil(sidecar.adminUrl, ({ total }) => total(REQUESTS) === 3);
  expect(metrics.total(REQUESTS, { policy: "stays" })).toBe(2);
  expect(metrics.total(REQUESTS, { policy: "goes" })).toBe(1);
});

test("connections and WebSockets are counted while they are open", async () => {
  await using backend = await startWebSocketBackend();
  await using sidecar = await startSidecar(backend.url, { yaml: `${ADMIN}limits: {connections: 7}\n` });
  const idle = createConnection(sidecar.port, "127.0.0.1");
  await once(idle, "connect");
  const socket = await openWebSocket(sidecar.url);
  const open = await scrapeUntil(
    sidecar.adminUrl,
    ({ total }) => total("countersign_connections_open") === 2,
  );
  expect(open.total("countersign_websockets_open")).toBe(1);
  expect(open.total("countersign_requests_in_flight")).toBe(0);
  expect(open.total("countersign_connections_limit")).toBe(7);
  expect(open.total(REQUESTS)).toBe(0);
  idle.destroy();
  socket.terminate();
  const closed = await scrapeUntil(
    sidecar.adminUrl,
    ({ total }) => total("countersign_connections_open") === 0 && total(REQUESTS) === 1,
  );
  expect(closed.total("countersign_websockets_open")).toBe(0);
  expect(closed.values(REQUESTS, "code")).toEqual(["101"]);
  expect(closed.total("countersign_request_duration_seconds_count")).toBe(0);
});

test("a request on HTTP/2 is in flight until its answer is whole", async () => {
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  await using backend = await startBackend(async (_request, response) => {
    arrive();
    await released;
    response.end();
  });
  await using sidecar = await startSidecar(backend.url, {
    yaml: `${ADMIN}listen: {address: "127.0.0.1:0", http2: true}\n`,
  });
  const client = connect(sidecar.url);
  const stream = client.request({ ":path": "/" });
  await arrived;
  expect((await scrape(sidecar.adminUrl)).total("countersign_requests_in_flight")).toBe(1);
  release();
  stream.resume();
  await once(stream, "close");
  client.close();
  const after = await scrapeUntil(
    sidecar.adminUrl,
    ({ total }) => total("countersign_requests_in_flight") === 0 && total(REQUESTS) === 1,
  );
  expect(after.values(REQUESTS, "code")).toEqual(["200"]);
});

test("keys from files are told of, and that they cannot be read any more", async () => {
  await using backend = await startBackend();
  using folder = temporaryFolder();
  const files = ["one.pem", "two.pem"].map((name) => join(folder.path, name));
  for (const file of files) {
    const { privateKey } = generateKeyPairSync("ed25519");
    writeFileSync(file, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  }
  await using sidecar = await startSidecar(backend.url, {
    yaml: `${ADMIN}issuer: {keys: {files: ${JSON.stringify(files)}}}\n`,
  });
  const metrics = await scrape(sidecar.adminUrl);
  expect(
    metrics.samples.filter(({ name }) => name === "countersign_keys").map(({ labels }) => labels),
  ).toEqual([
    { purpose: "token", algorithm: "EdDSA", state: "active" },
    { purpose: "", algorithm: "EdDSA", state: "published" },
  ]);
  expect(metrics.total("countersign_keys_problem")).toBe(0);
  expect(metrics.total("countersign_keys_missing")).toBe(0);
  writeFileSync(String(files[0]), "no key");
  await sidecar.issuer.refreshKeys();
  expect((await scrape(sidecar.adminUrl)).total("countersign_keys_problem")).toBe(1);
});

test("where the numbers of all processes cannot be had, the answer is 503 and none of them", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: ADMIN,
    metricsText: () => Promise.reject(new Error("a secret of this machine")),
  });
  const response = await fetch(`${sidecar.adminUrl}/metrics`);
  expect(response.status).toBe(503);
  const body = await response.text();
  expect(JSON.parse(body)).toMatchObject({ code: "ERR_METRICS_UNAVAILABLE" });
  expect(body).not.toContain("secret");
});

test("backends that are asked how they are are told of as healthy or not", async () => {
  let status = 200;
  await using backend = await startBackend((_request, response) => {
    response.statusCode = status;
    response.end();
  });
  await using sidecar = await startSidecar(backend.url, {
    yaml: `${ADMIN}upstream: {url: "${backend.url}", healthCheck: {path: /healthz, interval: 1s}}\n`,
  });
  const healthy = ({ samples }: Scrape) =>
    samples.filter(({ name }) => name === "countersign_upstream_healthy");
  const well = await scrapeUntil(sidecar.adminUrl, (metrics) => healthy(metrics)[0]?.value === 1);
  expect(healthy(well)[0]?.labels).toEqual({ upstream: backend.url });
  status = 500;
  await scrapeUntil(sidecar.adminUrl, (metrics) => healthy(metrics)[0]?.value === 0);
});

test("nothing is counted where nobody could read it", async () => {
  await using backend = await startBackend();
  const { config } = parseConfig(
    `listen: 127.0.0.1:0\nupstream: ${backend.url}\nadmin: false\nissuer: {keys: {ephemeral: true}}`,
    { file: "sidecar.yaml" },
  );
  const sidecar = createSidecar(config);
  const { url } = await sidecar.start();
  await ask(url);
  const metrics = sidecar.metrics();
  await sidecar.close();
  expect(metrics).toEqual([]);
});

test("neither a secret nor anything else that a client chooses is in the metrics, which do not grow with it", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url, {
    yaml: `${ADMIN}
authenticators: {partners: {type: apiKey, header: X-Key, keys: [${apiKeyEntry(KEY, "acme-the-subject")}]}}
policies: [{name: all, authenticate: [partners, anonymous], token: {tokenId: true}}]
`,
  });
  const kinds = ["GET", "BREW", "M-SEARCH", "PROPFIND"];
  for (const method of kinds)
    for (const value of [KEY, `${KEY}x`])
      await sendRaw(
        sidecar.port,
        `${method} /first HTTP/1.1\r\nHost: first\r\nX-Key: ${value}\r\nConnection: close\r\n\r\n`,
      );
  await sendRaw(sidecar.port, "GET /%2f HTTP/1.1\r\nHost: first\r\nConnection: close\r\n\r\n");
  const lines = ({ text }: Scrape) => text.split("\n").length;
  const first = await scrapeUntil(sidecar.adminUrl, ({ total }) => total(REQUESTS) === 7);

  const marker = "choice";
  const chosen = () => `${marker}${randomBytes(6).toString("hex")}`;
  const methods = ["GET", "PURGE", "PROPFIND", "MKCOL", "REPORT", "LOCK", "SUBSCRIBE", "M-SEARCH"];
  const fields = () => `Host: ${chosen()}\r\nX-Key: ${chosen()}\r\nUser-Agent: ${chosen()}\r\n`;
  const oneOf = (number: number) => methods[number % methods.length];
  const REQUESTS_IN_ALL = 10_000;
  const AT_ONCE = 50;
  for (let sent = 0; sent < REQUESTS_IN_ALL; sent += AT_ONCE) {
    const batch = Array.from(
      { length: AT_ONCE },
      (_, index) => `${oneOf(sent + index)} /${chosen()}?${chosen()} HTTP/1.1\r\n${fields()}\r\n`,
    );
    await sendRaw(sidecar.port, `${batch.join("")}GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
  }
  const last = await scrapeUntil(
    sidecar.adminUrl,
    ({ total }) => total(REQUESTS) === 7 + REQUESTS_IN_ALL + REQUESTS_IN_ALL / AT_ONCE,
  );
  expect(lines(last) - lines(first)).toBeLessThan(40);
  for (const text of [marker, KEY, "acme-the-subject", "PROPFIND", "eyJ", "PRIVATE"])
    expect(last.text).not.toContain(text);
});
