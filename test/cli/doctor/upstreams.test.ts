import { once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { afterAll, expect, test } from "vitest";
import { checkUpstreams } from "../../../src/cli/doctor/upstreams.ts";
import { parseConfig } from "../../../src/index.ts";
import { startBackend } from "../../support/backend.ts";
import { createCa, issueForServer, type TestCertificate, writeTlsFiles } from "../../support/certificates.ts";
import { temporaryFolder } from "../../support/command-line.ts";

const DAY = 86_400_000;
const ca = await createCa();
const folder = temporaryFolder();
afterAll(() => folder[Symbol.dispose]());
writeTlsFiles(folder.path, await ca.issue({ commonName: "countersign" }), ca);

const examine = (yaml: string) =>
  checkUpstreams(parseConfig(yaml, { file: "sidecar.yaml" }).config, Date.now());

async function startTlsBackend({ cert, key }: TestCertificate) {
  const server = createServer({ cert, key }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

test("each backend is connected to once, those of policies too", async () => {
  await using backend = await startBackend();
  const findings = await examine(`
upstream: ${backend.url}
policies:
  - {name: a}
  - {name: b, upstream: "unix:/no/such.sock"}
  - {name: c, upstream: "http://127.0.0.1:9"}
  - {name: d, upstream: "http://127.0.0.1:9"}
`);
  expect(findings.map(({ check, state, found }) => ({ check, state, found }))).toEqual([
    { check: `upstream ${backend.url}`, state: "ok", found: "accepts connections" },
    { check: "upstream unix:/no/such.sock", state: "fail", found: "there is no such socket" },
    { check: "upstream http://127.0.0.1:9", state: "fail", found: "nobody listens there" },
  ]);
});

test("the certificate of a backend is checked as the sidecar does, and how long it is valid", async () => {
  const names = [{ type: "ip", value: "127.0.0.1" } as const];
  const notAfter = new Date(Date.now() + 30 * DAY);
  await using lasting = await startTlsBackend(await ca.issue({ names, notAfter }));
  await using ending = await startTlsBackend(await issueForServer(ca));
  const withCa = (url: string) => `{url: "${url}", tls: {ca: ${folder.path}/ca.crt}}`;

  expect(await examine(`upstream: ${withCa(lasting.url)}\n`)).toEqual([
    {
      check: `upstream ${lasting.url}`,
      state: "ok",
      found: expect.stringMatching(/^accepts connections, TLSv1\.3; its certificate is valid until .* GMT$/),
    },
  ]);
  expect(await examine(`upstream: ${withCa(ending.url)}\n`)).toMatchObject([
    { state: "warn", remedy: "have the certificate of the backend renewed" },
  ]);
  expect(await examine(`upstream: ${lasting.url}\n`)).toMatchObject([
    { state: "fail", remedy: expect.stringContaining("upstream.tls.ca") },
  ]);
});

test("who speaks no TLS where it is expected fails", async () => {
  await using backend = await startBackend();
  expect(await examine(`upstream: ${backend.url.replace("http:", "https:")}\n`)).toMatchObject([
    { state: "fail", remedy: expect.anything() },
  ]);
});

test("files of upstream.tls that cannot be used fail", async () => {
  await using backend = await startBackend();
  const url = backend.url.replace("http:", "https:");
  const findings = await examine(`upstream: {url: "${url}", tls: {ca: /no/such.crt}}\n`);
  expect(findings).toMatchObject([{ state: "fail", found: expect.stringContaining("/no/such.crt") }]);
});
