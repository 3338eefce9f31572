import { connect } from "node:net";
import { expect, test } from "vitest";
import type { ClientRequest, ClientResponse } from "../../../src/gateway/client/client-message.ts";
import { type FormReading, readForm } from "../../../src/gateway/token-endpoint/form.ts";
import { startBackend } from "../../support/backend.ts";

const HEAD =
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 20\r\n\r\n";

test("a form that is not whole in time is waited for no longer", async () => {
  const readings: Promise<FormReading>[] = [];
  await using server = await startBackend((request, response) => {
    const reading = readForm(request as ClientRequest, response as ClientResponse, { receivedBytes: 0 }, 50);
    readings.push(reading);
    void reading.then(() => response.end());
  });
  const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
  socket.write(`${HEAD}grant_type=`);
  await new Promise((resolve) => socket.once("data", resolve));
  socket.destroy();
  expect(await readings[0]).toMatchObject({ kind: "refused", code: "ERR_REQUEST_TIMEOUT" });
});
