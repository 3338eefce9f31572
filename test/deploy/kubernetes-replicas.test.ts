import type { Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, type JSONWebKeySet, jwtVerify } from "jose";
import { expect, test } from "vitest";
import type { KeyEvent } from "../../src/issuer/keys/key-set.ts";
import { pemOf, privateKeyFor } from "../issuer/keys/key-material.ts";
import { apiKeyEntry } from "../support/api-keys.ts";
import { startBackend, type TestBackend } from "../support/backend.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { connectTo, startLoad } from "../support/load.ts";
import { readDeployed } from "../support/manifests.ts";
import { mountVolume } from "../support/mounted-volume.ts";
import { sendRaw } from "../support/raw-client.ts";
import { startSidecar, type TestSidecar, type TestSidecarOptions } from "../support/sidecar.ts";

const ISSUER = "https://orders.example.com/__issuer";
const AUDIENCE = "https://orders.internal";
const HEADERS = { "x-api-key": "a-key" };

const newKey = () => pemOf(privateKeyFor("EdDSA"));

/** What the pods of a cluster share: the Secrets, as they are mounted. */
function mountSecrets(path: string) {
  const pems = { "current.pem": newKey(), "next.pem": newKey(), "previous.pem": newKey() };
  mountVolume(join(path, "api-keys"), { "api-keys.yaml": `keys:\n  - ${apiKeyEntry("a-key", "acme")}\n` });
  return { path, pems, keys: mountVolume(join(path, "keys"), pems) };
}

/** A sidecar with the configuration of keys-from-secret, on ports of its own. */
function startPod(
  path: string,
  backend: TestBackend,
  options: TestSidecarOptions = {},
): Promise<TestSidecar> {
  const yaml = readDeployed("kubernetes/keys-from-secret/sidecar.yaml")
    .replaceAll(/0\.0\.0\.0:\d+/g, "127.0.0.1:0")
    .replaceAll("http://127.0.0.1:9000", backend.url)
    .replaceAll("/run/countersign", path)
    .replace("notReady: 5s", "notReady: 1s");
  return startSidecar(backend.url, { yaml, ...options });
}

const jwksOf = async ({ url }: TestSidecar): Promise<JSONWebKeySet> =>
  (await fetch(`${url}/__issuer/.well-known/jwks.json`)).json() as Promise<JSONWebKeySet>;
const kidsOf = async (sidecar: TestSidecar) => (await jwksOf(sidecar)).keys.map(({ kid }) => kid);

/** The tokens that a backend has got, in order. */
const tokensOf = ({ requests }: TestBackend) =>
  requests.flatMap(({ headers: { authorization } }) => authorization?.replace("Bearer ", "") ?? []);

test("a pod answers probes to its address, and signs with the first key of the Secret", async () => {
  await using backend = await startBackend();
  using folder = temporaryFolder();
  const { path } = mountSecrets(folder.path);
  await using pod = await startPod(path, backend);
  const port = Number(new URL(pod.adminUrl ?? "").port);
  // The kubelet asks the address of the pod.
  const probe = (name: string) =>
    sendRaw(port, `GET ${name} HTTP/1.1\r\nHost: 10.42.0.7:8081\r\nConnection: close\r\n\r\n`);
  expect(await probe("/livez")).toMatch(/^HTTP\/1\.1 200 /);
  await expect.poll(() => probe("/readyz")).toMatch(/^HTTP\/1\.1 200 /);

  expect((await fetch(`${pod.url}/orders/1`, { headers: HEADERS })).status).toBe(200);

  const [token = ""] = tokensOf(backend);
  expect(decodeJwt(token)).toMatchObject({ iss: ISSUER, sub: "acme", aud: AUDIENCE });
  expect(decodeProtectedHeader(token).kid).toBe((await kidsOf(pod))[0]);
});

test("one change of the mounted Secret rotates the keys without a restart, and every token is good at every replica", async () => {
  await using backend = await startBackend();
  using folder = temporaryFolder();
  const { path, pems, keys } = mountSecrets(folder.path);
  const events: KeyEvent[] = [];
  const onKeyEvent = (event: KeyEvent) => events.push(event);
  await using first = await startPod(path, backend, { onKeyEvent });
  // The kubelet of its node mounts the change later.
  using later = temporaryFolder();
  mountVolume(join(later.path, "keys"), pems);
  mountVolume(join(later.path, "api-keys"), { "api-keys.yaml": "keys: []\n" });
  await using second = await startPod(later.path, backend);
  const before = await kidsOf(first);
  await fetch(`${first.url}/orders/1`, { headers: HEADERS });

  keys.replace({
    "current.pem": pems["next.pem"],
    "next.pem": newKey(),
    "previous.pem": pems["current.pem"],
  });

  await expect.poll(async () => (await kidsOf(first))[0], { timeout: 5000 }).toBe(before[1]);
  const after = await kidsOf(first);
  expect([after.length, after[2]]).toEqual([3, before[0]]);
  await fetch(`${first.url}/orders/1`, { headers: HEADERS });
  const tokens = tokensOf(backend);
  expect(tokens.map((token) => decodeProtectedHeader(token).kid)).toEqual([before[0], before[1]]);
  for (const replica of [first, second]) {
    const jwks = createLocalJWKSet(await jwksOf(replica));
    for (const token of tokens) await jwtVerify(token, jwks, { issuer: ISSUER, audience: AUDIENCE });
  }
  // No warning, and no problem on the way.
  expect(events.map(({ kind }) => kind)).toEqual(["key"]);
});

test("the public issuer has the keys of the replicas, needs neither backend nor API keys, and forwards nothing", async () => {
  await using backend = await startBackend();
  using folder = temporaryFolder();
  const { path, pems } = mountSecrets(folder.path);
  await using pod = await startPod(path, backend);
  await fetch(`${pod.url}/orders/1`, { headers: HEADERS });
  using ofIssuer = temporaryFolder();
  mountVolume(join(ofIssuer.path, "keys"), pems);
  const { requests } = backend;
  const sent = requests.length;
  await using issuer = await startPod(ofIssuer.path, backend, { issuerOnly: true });

  const [token = ""] = tokensOf(backend);
  await jwtVerify(token, createLocalJWKSet(await jwksOf(issuer)), { issuer: ISSUER, audience: AUDIENCE });
  expect((await fetch(`${issuer.url}/orders/1`, { headers: HEADERS })).status).toBe(404);
  const readiness = await fetch(`${issuer.adminUrl}/readyz`);
  expect(readiness.status).toBe(200);
  const { checks } = (await readiness.json()) as { checks: object };
  // Nor is a backend asked how it is.
  expect(Object.keys(checks)).toEqual(["lifecycle", "configuration", "keys"]);
  expect(requests.slice(sent).filter(({ url }) => url !== "/healthz")).toEqual([]);
});

/** How long after `/readyz` says no a Service still sends somebody here. */
const LATE_MILLISECONDS = 300;
const PROBE_MILLISECONDS = 50;

/** What the kubelet and a Service do for pods: connections go in turn to those that were ready a moment ago. */
class Service implements Disposable {
  readonly #endpoints = new Set<TestSidecar>();
  readonly #watching = new AbortController();
  readonly refused: string[] = [];
  #turn = 0;

  /** Watches a pod from now on, and resolves when it gets connections. */
  async add(pod: TestSidecar): Promise<void> {
    const isReady = async () => {
      const response = await fetch(`${pod.adminUrl}/readyz`).catch(() => undefined);
      return response?.status === 200;
    };
    while (!(await isReady())) await sleep(PROBE_MILLISECONDS);
    this.#endpoints.add(pod);
    void (async () => {
      while (!this.#watching.signal.aborted && (await isReady())) await sleep(PROBE_MILLISECONDS);
      await sleep(LATE_MILLISECONDS);
      this.#endpoints.delete(pod);
    })();
  }

  /** Opens a connection to one of the pods. */
  readonly connect = async (): Promise<Socket> => {
    const endpoints = [...this.#endpoints];
    const pod = endpoints[this.#turn++ % endpoints.length];
    try {
      return await connectTo(pod?.port ?? 0);
    } catch (error) {
      this.refused.push(String(error));
      throw error;
    }
  };

  [Symbol.dispose](): void {
    this.#watching.abort();
  }
}

test("three replicas are replaced one by one under load, and no request fails", async () => {
  await using backend = await startBackend();
  using folder = temporaryFolder();
  const { path } = mountSecrets(folder.path);
  using service = new Service();
  await using stack = new AsyncDisposableStack();
  const startReady = async () => {
    const pod = await startPod(path, backend);
    stack.use(pod);
    await service.add(pod);
    return pod;
  };
  const old = [await startReady(), await startReady(), await startReady()];
  const load = startLoad({
    clients: 10,
    connect: service.connect,
    reconnects: true,
    pause: () => 10,
    request: "GET /orders/1 HTTP/1.1\r\nHost: a\r\nX-Api-Key: a-key\r\n\r\n",
  });
  await load.more(50);

  const ends: Promise<void>[] = [];
  for (const pod of old) {
    // maxSurge: 1, maxUnavailable: 0. Kubernetes does not wait for one to end before it starts the next.
    await startReady();
    ends.push(pod.close({ notReadySeconds: pod.config.timeouts.notReadySeconds }));
    await load.more(50);
  }
  await Promise.all(ends);
  await load.more(50);
  await load.stop();

  expect({ failures: load.failures, refused: service.refused, neverTaken: load.neverTaken() }).toEqual({
    failures: [],
    refused: [],
    neverTaken: 0,
  });
  expect(new Set(tokensOf(backend).map((token) => decodeProtectedHeader(token).kid)).size).toBe(1);
});
