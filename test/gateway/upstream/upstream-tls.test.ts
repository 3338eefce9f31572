import { once } from "node:events";
import { chmodSync, renameSync, writeFileSync } from "node:fs";
import { createServer, type ServerOptions } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { afterAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { startBackend } from "../../support/backend.ts";
import { createCa, issueForServer, type TestCertificate, writeTlsFiles } from "../../support/certificates.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { startSidecar, type TestSidecarOptions } from "../../support/sidecar.ts";

const ca = await createCa();
const stranger = await createCa("Another CA");
const own = await issueForServer(ca);
const client = await ca.issue({ commonName: "countersign" });
const folder = temporaryFolder();
writeTlsFiles(folder.path, client, ca);
const file = (name: string) => `${folder.path}/${name}`;

afterAll(() => folder[Symbol.dispose]());

/** A backend that speaks https, and tells what the TLS of each request is. */
async function startTlsBackend({ cert, key }: TestCertificate = own, options: ServerOptions = {}) {
  const server = createServer({ cert, key, ...options }, ({ socket, headers }, response) => {
    const { servername } = socket as TLSSocket & { servername: string | false };
    const peer = (socket as TLSSocket).getPeerCertificate().subject?.CN;
    response.end(
      JSON.stringify({
        version: (socket as TLSSocket).getProtocol(),
        port: socket.remotePort,
        servername,
        peer,
        host: headers.host,
      }),
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    port,
    server,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

function startWith(url: string, tls: object, options: TestSidecarOptions = {}, timeouts = {}) {
  return startSidecar("", { ...options, yaml: stringify({ upstream: { url, tls, timeouts } }) });
}

async function ask(url: string, headers: Record<string, string> = {}) {
  const response = await fetch(url, { headers });
  return { status: response.status, ...((await response.json()) as Record<string, unknown>) };
}

describe("an https upstream", () => {
  test("is believed where its certificate is of the CA, and sees the client's Host", async () => {
    await using backend = await startTlsBackend();
    await using sidecar = await startWith(`https://127.0.0.1:${backend.port}`, { ca: file("ca.crt") });

    expect(await ask(sidecar.url)).toMatchObject({
      status: 200,
      version: "TLSv1.3",
      servername: false,
      host: new URL(sidecar.url).host,
    });
  });

  test("is asked for its own name, and never for the client's Host, on connections that are used again", async () => {
    await using backend = await startTlsBackend();
    await using sidecar = await startWith(`https://localhost:${backend.port}`, { ca: file("ca.crt") });

    const first = await ask(sidecar.url);
    const second = await ask(sidecar.url.replace("127.0.0.1", "localhost"));

    expect(first).toMatchObject({ servername: "localhost" });
    expect(second).toMatchObject({ servername: "localhost", port: (first as { port?: number }).port });
  });

  test("is asked for serverName, which its certificate must have", async () => {
    const named = await ca.issue({ names: [{ type: "dns", value: "backend.internal" }] });
    await using backend = await startTlsBackend(named);
    const tls = { ca: file("ca.crt"), serverName: "backend.internal" };
    await using sidecar = await startWith(`https://127.0.0.1:${backend.port}`, tls);

    expect(await ask(sidecar.url)).toMatchObject({ status: 200, servername: "backend.internal" });
  });

  test("is shown the certificate that it asks for", async () => {
    await using backend = await startTlsBackend(own, { requestCert: true, ca: ca.cert });
    const tls = { ca: file("ca.crt"), cert: file("tls.crt"), key: file("tls.key") };
    await using sidecar = await startWith(`https://127.0.0.1:${backend.port}`, tls);

    expect(await ask(sidecar.url)).toMatchObject({ status: 200, peer: "countersign" });
  });

  test("is believed whatever it shows with dangerouslySkipVerification", async () => {
    await using backend = await startTlsBackend(await issueForServer(stranger));
    const tls = { dangerouslySkipVerification: true };
    await using sidecar = await startWith(`https://127.0.0.1:${backend.port}`, tls);

    expect(await ask(sidecar.url)).toMatchObject({ status: 200 });
  });
});

describe("an https upstream that is not believed is answered for with 502, and the operator knows why", () => {
  const hour = 3_600_000;
  const names = [{ type: "ip", value: "127.0.0.1" } as const];
  test.each([
    [
      "has expired",
      ca.issue({ names, notBefore: new Date(Date.now() - 2 * hour), notAfter: new Date(Date.now() - hour) }),
      /certificate, or one of its CAs, has expired/,
    ],
    [
      "is not valid yet",
      ca.issue({ names, notBefore: new Date(Date.now() + hour), notAfter: new Date(Date.now() + 2 * hour) }),
      /is not valid yet; compare the clocks/,
    ],
    ["is of an unknown CA", issueForServer(stranger), /is not trusted; name it in upstream\.tls\.ca/],
    [
      "is for another name",
      ca.issue({ names: [{ type: "dns", value: "elsewhere.test" }] }),
      /is for another name; upstream\.tls\.serverName/,
    ],
  ])("%s", async (_what, issued, cause) => {
    await using backend = await startTlsBackend(await issued);
    await using sidecar = await startWith(`https://127.0.0.1:${backend.port}`, { ca: file("ca.crt") });

    const answer = await ask(sidecar.url);

    expect(answer).toMatchObject({
      status: 502,
      code: "ERR_UPSTREAM_UNREACHABLE",
      detail: "the upstream cannot be reached",
    });
    expect(JSON.stringify(answer)).not.toMatch(/certif|expired|CA/);
    expect(sidecar.failures).toEqual([
      expect.objectContaining({ code: "ERR_UPSTREAM_UNREACHABLE", cause: expect.stringMatching(cause) }),
    ]);
  });

  test("speaks nothing newer than TLS 1.1", async () => {
    await using backend = await startTlsBackend(own, {
      minVersion: "TLSv1",
      maxVersion: "TLSv1.1",
      ciphers: "DEFAULT@SECLEVEL=0",
    });
    await using sidecar = await startWith(`https://127.0.0.1:${backend.port}`, { ca: file("ca.crt") });

    expect(await ask(sidecar.url)).toMatchObject({ status: 502, code: "ERR_UPSTREAM_UNREACHABLE" });
  });

  test("wants a certificate, and is shown none", async () => {
    await using backend = await startTlsBackend(own, {
      requestCert: true,
      rejectUnauthorized: true,
      ca: ca.cert,
      maxVersion: "TLSv1.2",
    });
    await using sidecar = await startWith(`https://127.0.0.1:${backend.port}`, { ca: file("ca.crt") });

    expect(await ask(sidecar.url)).toMatchObject({ status: 502 });
  });

  test("does not speak TLS", async () => {
    await using plain = await startBackend();
    await using sidecar = await startWith(`https://127.0.0.1:${plain.port}`, { ca: file("ca.crt") });

    expect(await ask(sidecar.url)).toMatchObject({ status: 502, code: "ERR_UPSTREAM_UNREACHABLE" });
  });
});

describe("the files of an upstream", () => {
  test("are read again when they change, and requests under way go on", async () => {
    using changing = temporaryFolder();
    const path = `${changing.path}/ca.crt`;
    writeFileSync(path, ca.cert);
    const events: { key: string; kind: string; message: string }[] = [];
    const { promise: hold, resolve: release } = Promise.withResolvers<void>();
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    await using first = await startTlsBackend();
    first.server.removeAllListeners("request");
    first.server.on("request", async (_request, response) => {
      response.write("be");
      begin();
      await hold;
      response.end("gun");
    });
    await using sidecar = await startWith(
      `https://127.0.0.1:${first.port}`,
      { ca: path },
      { onPolicyEvent: (event) => events.push(event) },
    );
    const underWay = fetch(sidecar.url).then((response) => response.text());
    await begun;

    writeFileSync(`${path}.new`, "no certificate");
    renameSync(`${path}.new`, path);
    await expect.poll(() => events).toHaveLength(1);
    expect(events[0]).toMatchObject({ key: "upstream", kind: "problem" });
    expect(events[0]?.message).toContain(path);

    writeFileSync(`${path}.new`, stranger.cert);
    renameSync(`${path}.new`, path);
    await expect.poll(() => events.map(({ kind }) => kind)).toEqual(["problem", "reloaded", "recovered"]);
    expect((await fetch(sidecar.url)).status).toBe(502);

    release();
    expect(await underWay).toBe("begun");
  });

  test("of a policy are named by its key", async () => {
    using changing = temporaryFolder();
    const path = `${changing.path}/ca.crt`;
    writeFileSync(path, ca.cert);
    const events: { key: string }[] = [];
    await using sidecar = await startSidecar("http://127.0.0.1:9", {
      yaml: stringify({
        policies: [{ name: "orders", upstream: { url: "https://127.0.0.1:9", tls: { ca: path } } }],
      }),
      onPolicyEvent: (event) => events.push(event),
    });

    writeFileSync(path, "");

    await expect
      .poll(() => events)
      .toContainEqual(expect.objectContaining({ key: "policies.orders.upstream" }));
    expect(sidecar.failures).toEqual([]);
  });

  test.each([
    [
      "does not exist",
      { ca: "/no/such/ca.crt" },
      /^\/no\/such\/ca\.crt: this file does not exist; expected the cert/,
    ],
    [
      "is no certificate",
      { ca: file("tls.key") },
      /no certificate in PEM is in this file; expected the certificates of/,
    ],
    [
      "is no key",
      { cert: file("tls.crt"), key: file("no.key") },
      /no private key in PEM .* that of Countersign's/,
    ],
    [
      "is another's key",
      { cert: file("tls.crt"), key: file("other.key") },
      /not the private key of the first/,
    ],
    ["is a key that others can read", { cert: file("tls.crt"), key: file("open.key") }, /open\.key: .*chmod/],
  ])("keep the sidecar from starting where one %s", async (_what, tls, message) => {
    writeFileSync(file("other.key"), own.key, { mode: 0o600 });
    writeFileSync(file("no.key"), ca.cert, { mode: 0o600 });
    writeFileSync(file("open.key"), client.key);
    chmodSync(file("open.key"), 0o666);

    await expect(startWith("https://127.0.0.1:9", tls)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_FILE",
      message: expect.stringMatching(message),
    });
  });
});
