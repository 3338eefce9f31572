import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { createRequestHandlers } from "../../src/gateway/handle-request.ts";
import { createIssuerEndpoints } from "../../src/gateway/issuer-endpoints.ts";
import { ConnectionLimit } from "../../src/gateway/listen/connection-limit.ts";
import type { Tokens } from "../../src/issuer/tokens.ts";
import { deciderOf, openRoutes } from "../../src/open-routes.ts";
import { startBackend } from "../support/backend.ts";
import { createTestListener, portOf } from "../support/listener.ts";
import { startSidecar } from "../support/sidecar.ts";

/** A sidecar whose tokens are made by `tokenFor`. */
async function startWithTokens(upstreamUrl: string, tokenFor: Tokens["tokenFor"]) {
  await using sidecar = await startSidecar(upstreamUrl);
  const { config, issuer } = sidecar;
  const { routes, close } = await openRoutes(config, { now: Date.now, onEvent: () => {} });
  const listener = createTestListener();
  const causes: string[] = [];
  const port = portOf(await listener.listen());
  const handlers = createRequestHandlers({
    connectionLimit: new ConnectionLimit(10),
    decide: deciderOf(config, { routes, issuer, tokens: { tokenFor }, listenAuthority: "127.0.0.1" }),
    issuerEndpoints: createIssuerEndpoints(issuer, config.issuer.basePath),
    limits: config.limits,
    onEnd() {},
    onFailure: ({ cause }) => causes.push(cause),
  });
  listener.serve(handlers);
  return {
    port,
    causes,
    async [Symbol.asyncDispose]() {
      await listener.close(100);
      await close();
    },
  };
}

const broken = new Error("the key is broken");

test.each([
  [
    "at once",
    () => {
      throw broken;
    },
  ],
  ["later", () => Promise.reject(broken)],
] as const)("where signing fails %s the answer is 503, and nothing is forwarded", async (_when, tokenFor) => {
  await using backend = await startBackend();
  await using sidecar = await startWithTokens(backend.url, tokenFor);

  const response = await fetch(`http://127.0.0.1:${sidecar.port}/`);

  expect(response.status).toBe(503);
  expect(await response.json()).toMatchObject({ code: "ERR_SIGNING_FAILED" });
  expect(backend.requests).toEqual([]);
  expect(sidecar.causes).toEqual(["the key is broken"]);
});

describe("a request is not forwarded where, while its token was signed,", () => {
  test.each([
    ["its body broke off", "zz\r\n"],
    ["its client left", undefined],
  ])("%s", async (_, rest) => {
    const { promise: signing, resolve: beginsToSign } = Promise.withResolvers<void>();
    const { promise: token, resolve: sign } = Promise.withResolvers<string>();
    await using backend = await startBackend();
    await using sidecar = await startWithTokens(backend.url, () => {
      beginsToSign();
      return token;
    });
    const client = connect(sidecar.port, "127.0.0.1");
    client.on("error", () => {}).resume();
    const closed = new Promise((resolve) => client.once("close", resolve));
    client.write("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
    await signing;

    if (rest === undefined) client.destroy();
    else client.write(rest);
    await new Promise((resolve) => setTimeout(resolve, 50));
    sign("a.b.c");
    client.end();
    await closed;

    expect(backend.requests).toEqual([]);
    expect(sidecar.causes).toEqual([]);
  });
});
