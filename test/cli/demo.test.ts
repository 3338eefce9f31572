import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { runCommand, startCommand, temporaryFolder } from "../support/command-line.ts";
import { freePort } from "../support/free-port.ts";
import { withoutRequests } from "../support/log.ts";

/** What the demo backend says of a request. */
async function ask(url: string, headers: Record<string, string> = {}) {
  const response = await fetch(url, { headers });
  expect(response.status).toBe(200);
  return await response.json();
}

test("the backend verifies the token of each request, on whatever ports", async () => {
  using folder = temporaryFolder();
  const upstream = `http://127.0.0.1:${await freePort()}`;
  await using demo = await startCommand(["demo", "--listen", "127.0.0.1:0", "--upstream", upstream], {
    cwd: folder.path,
  });

  expect(await ask(`${demo.url}/orders/42`, { authorization: "Bearer mine" })).toMatchObject({
    token: {
      verified: true,
      header: { alg: "EdDSA", typ: "JWT" },
      claims: {
        iss: `${demo.url}/__issuer`,
        sub: "api-gateway",
        aud: `${demo.url}/orders/42`,
        env: "development",
      },
    },
    received: {
      method: "GET",
      url: "/orders/42",
      headers: { authorization: expect.stringMatching(/^Bearer eyJ/) },
    },
  });
  expect(await ask(`${demo.url}/reports/2026`)).toMatchObject({
    token: { verified: true, claims: { aud: "https://reports.internal", role: "reader" } },
    received: { headers: { "x-service-token": expect.stringMatching(/^eyJ/) } },
  });
  expect(await ask(`${demo.url}/healthz`)).toMatchObject({
    token: { verified: false, reason: "the request carries no token" },
  });
  expect(await ask(upstream, { authorization: "Bearer mine" })).toMatchObject({ token: { verified: false } });

  expect(readdirSync(folder.path)).toEqual(["keys"]);
  const { code, stderr } = await demo.stop("SIGINT");
  expect(code).toBe(0);
  expect(withoutRequests(stderr)).toBe(`\
listening on  ${demo.url}
forwarding to ${upstream}
issuer        ${demo.url}/__issuer
${/^signing with .*$/m.exec(stderr)?.[0]}

The demo backend verifies each token. Try it:
  curl ${demo.url}/orders/42


SIGINT: finishing the requests under way; a second signal ends at once
`);
});

test("-c shows a configuration of one's own at work", async () => {
  using folder = temporaryFolder();
  const upstream = `http://localhost:${await freePort()}`;
  writeFileSync(
    join(folder.path, "mine.yaml"),
    `listen: 127.0.0.1:0\nupstream: ${upstream}\ntoken: {headerName: X-Mine, tokenPrefix: "", subject: me}\n`,
  );
  await using demo = await startCommand(["demo", "-c", "mine.yaml"], { cwd: folder.path });
  expect(await ask(demo.url)).toMatchObject({ token: { verified: true, claims: { sub: "me" } } });
});

describe("what cannot be started exits with 1 and says why", () => {
  test("the backend's port in use", async () => {
    using folder = temporaryFolder();
    await using other = await startBackend();
    expect(
      await runCommand(["demo", "--listen", "127.0.0.1:0", "--upstream", other.url], { cwd: folder.path }),
    ).toEqual({
      code: 1,
      stdout: "",
      stderr: `countersign: the demo backend cannot listen on ${other.url}: another program uses this port; stop it, or choose another one with --upstream\n`,
    });
  });

  test("the sidecar's port in use", async () => {
    using folder = temporaryFolder();
    await using other = await startBackend();
    const upstream = `http://127.0.0.1:${await freePort()}`;
    expect(
      await runCommand(["demo", "--listen", `127.0.0.1:${other.port}`, "--upstream", upstream], {
        cwd: folder.path,
      }),
    ).toEqual({
      code: 1,
      stdout: "",
      stderr: `countersign: cannot listen on 127.0.0.1:${other.port}: another program uses this port; stop it, or choose another port\n`,
    });
  });

  test("a backend that is elsewhere", async () => {
    using folder = temporaryFolder();
    expect(
      await runCommand(["demo", "--upstream", "http://backend.example:9000"], { cwd: folder.path }),
    ).toEqual({
      code: 1,
      stdout: "",
      stderr:
        "countersign: the demo backend stands at the upstream, so that must be a loopback address and not http://backend.example:9000; to use a backend of your own, run: countersign serve\n",
    });
    expect(existsSync(join(folder.path, "keys"))).toBe(false);
  });

  test("a flag without sense is wrong usage", async () => {
    expect(await runCommand(["demo", "--upstream", "nonsense"])).toEqual({
      code: 2,
      stdout: "",
      stderr:
        'countersign: --upstream: expected a URL such as "http://127.0.0.1:9000"\n(--help shows how it is used)\n',
    });
  });
});
