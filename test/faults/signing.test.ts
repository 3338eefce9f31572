import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { createRequestHandler } from "../../src/gateway/handle-request.ts";
import { createIssuerEndpoints } from "../../src/gateway/issuer-endpoints.ts";
import { createUpstream } from "../../src/gateway/upstream.ts";
import { startBackend } from "../support/backend.ts";
import { startSidecar } from "../support/sidecar.ts";

test("where signing throws the answer is 503, and nothing is forwarded", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url);
  const { config } = sidecar;
  const issuer = { ...sidecar.issuer, signJwt: () => Promise.reject(new Error("the key is broken")) };
  const upstream = createUpstream(config.upstream);
  const causes: string[] = [];
  const handle = createRequestHandler({
    issuer,
    issuerEndpoints: createIssuerEndpoints(issuer, config.issuer.basePath),
    policies: config.policies,
    upstream,
    preserveHost: true,
    allowInPath: [],
    publicUrl: undefined,
    listenAuthority: "127.0.0.1",
    onFailure: ({ cause }) => causes.push(cause),
  });
  const server = createServer(handle).listen(0, "127.0.0.1");
  await once(server, "listening");

  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);

  expect(response.status).toBe(503);
  expect(await response.json()).toMatchObject({ code: "ERR_SIGNING_FAILED" });
  expect(backend.requests).toEqual([]);
  expect(causes).toEqual(["the key is broken"]);
  server.close();
  await upstream.destroy();
});
