import { once } from "node:events";
import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { finished } from "node:stream/promises";
import { expect, onTestFinished, test } from "vitest";
import { hasBody, RequestBody } from "../../../src/gateway/client/message-body.ts";
import {
  END_HEADERS,
  END_STREAM,
  FRAME,
  FrameClient,
  frame,
  requestFields,
  requestFrame,
} from "../../support/http2-frames.ts";

/** A server of HTTP/2 that takes the body of each request, and notes how it ended. */
async function startServer() {
  const bodies: { readonly hasBody: boolean; readonly text: string; readonly outcome: string }[] = [];
  const server = createServer(async (clientRequest, clientResponse) => {
    const body = new RequestBody(clientRequest, undefined, { receivedBytes: 0 });
    let text = "";
    body.on("data", (piece) => {
      text += piece;
    });
    // Early: what ends the stream is then not what ends the response.
    clientResponse.end("early");
    const outcome = await finished(body).then(
      () => "whole",
      () => "cut",
    );
    bodies.push({ hasBody: hasBody(clientRequest), text, outcome });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = await FrameClient.open((server.address() as AddressInfo).port);
  onTestFinished(() => {
    client[Symbol.dispose]();
    server.close();
  });
  return {
    client,
    async body() {
      while (bodies.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      return bodies[0];
    },
  };
}

const POST = requestFields([], { method: "POST" });

test("a body that was sent whole is whole, also behind an early answer", async () => {
  const { client, body } = await startServer();
  client.send(requestFrame(1, POST, END_HEADERS), frame(FRAME.data, END_STREAM, 1, Buffer.from("abc")));
  expect(await body()).toEqual({ hasBody: true, text: "abc", outcome: "whole" });
});

test.each([0, 8])(
  "a body whose stream is reset with code %i is not whole, also behind an early answer",
  async (code) => {
    const { client, body } = await startServer();
    client.send(requestFrame(1, POST, END_HEADERS), frame(FRAME.data, 0, 1, Buffer.from("abc")));
    await client.next(({ type }) => type === FRAME.data);
    client.send(frame(FRAME.resetStream, 0, 1, Buffer.from([0, 0, 0, code])));
    expect(await body()).toMatchObject({ text: "abc", outcome: "cut" });
  },
);

test("a body whose connection ends is not whole", async () => {
  const { client, body } = await startServer();
  client.send(requestFrame(1, POST, END_HEADERS), frame(FRAME.data, 0, 1, Buffer.from("abc")));
  await client.next(({ type }) => type === FRAME.data);
  client.socket.destroy();
  expect(await body()).toMatchObject({ text: "abc", outcome: "cut" });
});

test.each<[string, [string, string][], boolean]>([
  ["that ends with its fields", [], false],
  ["that ends with its fields, of length 0", [["content-length", "0"]], false],
])("a request %s has no body", async (_, fields, expected) => {
  const { client, body } = await startServer();
  client.send(requestFrame(1, requestFields(fields, { method: "POST" })));
  expect(await body()).toEqual({ hasBody: expected, text: "", outcome: "whole" });
});
