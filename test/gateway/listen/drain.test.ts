import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { text } from "node:stream/consumers";
import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, test } from "vitest";
import { ClientConnections } from "../../../src/gateway/listen/client-connections.ts";
import { drain } from "../../../src/gateway/listen/drain.ts";
import { RequestGate } from "../../../src/gateway/listen/request-gate.ts";

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

test("what has come while the process was held up is answered, before idle connections are ended", async () => {
  const connections = new ClientConnections(10);
  const server = createServer((clientRequest, clientResponse) => {
    if (connections.accept(clientRequest, clientResponse)) clientResponse.end("ok");
  });
  server.on("connection", (socket) => connections.add(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connect({ port: (server.address() as AddressInfo).port, host: "127.0.0.1" });
  client.write(GET);
  await once(client, "data");

  const listener = { server, gate: new RequestGate(), connections, http2: undefined, handshakes: undefined };
  const drained = drain(listener, 5000);
  while (server.listening) await nextTurn();
  const answer = text(client);
  client.write(GET);
  const until = performance.now() + 200;
  while (performance.now() < until);

  expect(await answer).toMatch(/^HTTP\/1.1 200 OK\r\n(?:.*\r\n)*Connection: close\r\n/);
  await drained;
});
