import { once } from "node:events";
import { connect } from "node:net";
import { expect, test } from "vitest";
import { RequestBody } from "../../../src/gateway/client/message-body.ts";
import { startBackend } from "../../support/backend.ts";

test("a client that goes away does no harm where nobody reads its body any more", async () => {
  const { promise: ended, resolve } = Promise.withResolvers<RequestBody>();
  await using server = await startBackend((request) => {
    const body = new RequestBody(request, undefined, { receivedBytes: 0 });
    body.on("close", () => resolve(body));
    client.destroy();
  });
  const client = connect(server.port, "127.0.0.1", () =>
    client.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf"),
  );

  const body = await ended;

  expect(body.errored).toMatchObject({ code: "ECONNRESET" });
});

test("a body that is given up leaves the client's connection open for an answer", async () => {
  await using server = await startBackend((request, response) => {
    new RequestBody(request, undefined, { receivedBytes: 0 }).destroy(new Error("given up"));
    response.end("answered");
  });
  const client = connect(server.port, "127.0.0.1", () =>
    client.write("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 100\r\n\r\nhalf"),
  );

  const [data] = (await once(client, "data")) as [Buffer];

  expect(data.toString()).toMatch(/^HTTP\/1\.1 200 [\s\S]*answered/);
  client.destroy();
});
