import { once } from "node:events";
import { Agent } from "node:https";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { expect, onTestFinished, test } from "vitest";
import { peerOf } from "../../../src/gateway/client/peer.ts";
import { openClientCertificate } from "../../../src/policy/authenticators/client-certificate.ts";
import type { Peer } from "../../../src/policy/caller-request.ts";
import { createCa, issueForServer, writeTlsFiles } from "../../support/certificates.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { createTestListener, portOf } from "../../support/listener.ts";
import { sendRaw } from "../../support/raw-client.ts";
import { get } from "../../support/tls-sidecar.ts";

/** A TLS listener that asks for a certificate and takes any, and the peers of its requests. */
async function startListener() {
  const ca = await createCa();
  const folder = temporaryFolder();
  onTestFinished(() => folder[Symbol.dispose]());
  writeTlsFiles(folder.path, await issueForServer(ca), ca);
  const [cert = "", key = "", clientCa = ""] = ["tls.crt", "tls.key", "ca.crt"].map((name) =>
    join(folder.path, name),
  );
  const listener = createTestListener({ tls: { cert, key, clientCa, clientCertificate: "optional" } });
  const peers: Peer[] = [];
  const resumed: boolean[] = [];
  listener.serve({
    request(clientRequest, clientResponse) {
      peers.push(peerOf(clientRequest));
      resumed.push((clientRequest.socket as TLSSocket).isSessionReused());
      clientResponse.end();
    },
  });
  const port = portOf(await listener.listen());
  onTestFinished(() => listener.close(0));
  return { ca, peers, resumed, url: `https://127.0.0.1:${port}` };
}

test("a peer shows the certificate of its handshake, trusted where it leads to the CA", async () => {
  const { ca, peers, url } = await startListener();
  const client = await ca.issue({ commonName: "orders" });
  await get(url, { ca, client });
  const shown = peers[0]?.certificate();
  expect(shown?.certificate.fingerprint256).toBe(client.x509.fingerprint256);
  expect(shown?.isTrusted).toBe(true);
});

test("a certificate of another CA is not trusted, and neither is one that has expired", async () => {
  const { ca, peers, url } = await startListener();
  const expired = { notBefore: new Date("2020-01-01"), notAfter: new Date("2020-02-01") };
  for (const client of [
    await (await createCa()).issue({ commonName: "orders" }),
    await ca.issue({ commonName: "orders", ...expired }),
  ])
    await get(url, { ca, client });
  expect(peers.map((peer) => peer.certificate()?.isTrusted)).toEqual([false, false]);
});

test("the authenticator for client certificates knows whom a handshake was with, and why it refuses the others", async () => {
  const { ca, peers, url } = await startListener();
  const mesh = await openClientCertificate(
    "mesh",
    { type: "clientCertificate", subject: "uri", from: undefined, forwardCredential: false },
    { now: Date.now, onEvent: () => {} },
  );
  const names = [{ type: "url", value: "spiffe://example.com/orders" }] as const;
  const expired = { notBefore: new Date("2020-01-01"), notAfter: new Date("2020-02-01") };
  for (const client of [
    await ca.issue({ names }),
    await ca.issue({ names, ...expired }),
    await (await createCa()).issue({ names }),
    undefined,
  ])
    await get(url, { ca, ...(client && { client }) });

  const outcomes = peers.map((peer) => mesh.authenticate({ rawFields: [], target: "/", peer }));

  expect(await Promise.all(outcomes)).toMatchObject([
    { kind: "user", user: { sub: "spiffe://example.com/orders" } },
    { kind: "invalid", reason: "the certificate has expired" },
    { kind: "invalid", reason: "the certificate leads to no CA that is trusted" },
    { kind: "not-mine", reason: "the client showed no certificate" },
  ]);
});

test("a peer without a certificate shows none", async () => {
  const { ca, peers, url } = await startListener();
  await get(url, { ca });
  expect(peers[0]?.certificate()).toBeUndefined();
});

test("the requests of one connection have one and the same certificate", async () => {
  const { ca, peers, url } = await startListener();
  const client = await ca.issue({ commonName: "orders" });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  await get(url, { ca, client, agent });
  await get(url, { ca, client, agent });
  agent.destroy();
  expect(peers).toHaveLength(2);
  expect(peers[0]?.certificate()).toBe(peers[1]?.certificate());
});

test("a connection that is resumed has the certificate of the one before", async () => {
  const { ca, peers, resumed, url } = await startListener();
  const client = await ca.issue({ commonName: "orders" });
  // Node.js keeps the sessions of an agent, and resumes them.
  const agent = new Agent({ keepAlive: false });
  await get(url, { ca, client, agent });
  await get(url, { ca, client, agent });
  expect(resumed).toEqual([false, true]);
  const [first, second] = peers.map((peer) => peer.certificate());
  expect(second?.certificate.fingerprint256).toBe(first?.certificate.fingerprint256);
  expect([first?.isTrusted, second?.isTrusted]).toEqual([true, true]);
});

test("an IPv4 client of a listener on every address has an IPv4 address, and over plain HTTP no certificate", async () => {
  const listener = createTestListener({ address: { kind: "tcp", host: undefined, port: 0 } });
  const peers: Peer[] = [];
  listener.serve({
    request(clientRequest, clientResponse) {
      peers.push(peerOf(clientRequest));
      clientResponse.end();
    },
  });
  const port = portOf(await listener.listen());
  onTestFinished(() => listener.close(0));
  await sendRaw(port, "GET / HTTP/1.0\r\n\r\n");
  expect(peers.map((peer) => [peer.address, peer.certificate()])).toEqual([["127.0.0.1", undefined]]);
});

test("a peer that has gone has the address unknown", async () => {
  const listener = createTestListener();
  const { promise: asked, resolve } = Promise.withResolvers<string>();
  listener.serve({
    async request(clientRequest) {
      clientRequest.socket.destroy();
      await once(clientRequest.socket, "close");
      resolve(peerOf(clientRequest).address);
    },
  });
  const port = portOf(await listener.listen());
  onTestFinished(() => listener.close(0));
  await sendRaw(port, "GET / HTTP/1.0\r\n\r\n");
  expect(await asked).toBe("unknown");
});
