import { once } from "node:events";
import { chmodSync, linkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSocketServer } from "node:net";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../support/command-line.ts";
import { startSidecar } from "../../support/sidecar.ts";

test("requests go to the backend of a Unix socket, and its Host is the client's", async () => {
  using folder = temporaryFolder();
  const path = `${folder.path}/app.sock`;
  const server = createServer(
    ({ headers, url }, response) => void response.end(`${headers.host} ${url}`),
  ).listen(path);
  await once(server, "listening");
  await using sidecar = await startSidecar(`unix:${path}`);

  expect(await (await fetch(`${sidecar.url}/a?b`)).text()).toBe(`${new URL(sidecar.url).host} /a?b`);

  server.close();
  server.closeAllConnections();
});

test("without preserveHost the Host of a Unix socket is localhost", async () => {
  using folder = temporaryFolder();
  const path = `${folder.path}/app.sock`;
  const server = createServer(({ headers }, response) => void response.end(headers.host)).listen(path);
  await once(server, "listening");
  await using sidecar = await startSidecar("", {
    yaml: `upstream: {url: "unix:${path}", preserveHost: false}`,
  });

  expect(await (await fetch(sidecar.url)).text()).toBe("localhost");

  server.close();
  server.closeAllConnections();
});

test.each([
  ["that does not exist", () => {}],
  ["that is none", (path: string) => writeFileSync(path, "")],
  [
    "that nobody listens on",
    async (path: string) => {
      // The file stays where its process is killed.
      const server = createSocketServer().listen(`${path}.old`);
      await once(server, "listening");
      linkSync(`${path}.old`, path);
      server.close();
      await once(server, "close");
    },
  ],
  [
    "that may not be connected to",
    async (path: string) => {
      writeFileSync(path, "");
      chmodSync(path, 0o000);
    },
  ],
])("a Unix socket %s is answered for with 502", async (_what, prepare) => {
  using folder = temporaryFolder();
  const path = `${folder.path}/app.sock`;
  await prepare(path);
  await using sidecar = await startSidecar(`unix:${path}`);

  const response = await fetch(sidecar.url);

  expect(response.status).toBe(502);
  expect(await response.json()).toMatchObject({ code: "ERR_UPSTREAM_UNREACHABLE" });
  expect(sidecar.failures).toEqual([expect.objectContaining({ cause: expect.stringContaining(path) })]);
});
