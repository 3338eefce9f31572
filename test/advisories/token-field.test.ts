import { describe, expect, test } from "vitest";
import { startRig } from "./support.ts";

const GET = "GET / HTTP/1.1";

describe("Connection cannot take the token field away (CVE-2021-32813, CVE-2024-45410, CVE-2026-33805)", () => {
  test.each([
    ["named", "Connection: close, x-service-token"],
    ["in capitals", "Connection: close\r\nCONNECTION: X-SERVICE-TOKEN"],
    ["on several lines", "Connection: close\r\nConnection: x-a, X-Service-Token\r\nX-A: 1"],
    ["with upgrade", "Connection: close, upgrade, x-service-token\r\nUpgrade: websocket"],
    ["in another spelling", "Connection: close, x_service_token, x.service.token"],
  ])("%s", async (_, fields) => {
    await using rig = await startRig();

    expect(await rig.send(`${GET}\r\nHost: a\r\n${fields}\r\n\r\n`)).toEqual([200]);

    await rig.expectForwarded(GET);
    expect(rig.backend.received()).not.toMatch(/^connection: (?!keep-alive\r$)/im);
  });
});

describe("a client's token field never reaches the backend, in any spelling (CVE-2025-64484, CVE-2026-39858)", () => {
  test.each([
    "X-Service-Token",
    "x-service-token",
    "X-SERVICE-TOKEN",
    "X_Service_Token",
    "x.service.token",
    "X-Service_Token",
    "X~Service!Token",
  ])("%s", async (name) => {
    await using rig = await startRig();

    await rig.send(`${GET}\r\nHost: a\r\n${name}: forged\r\nConnection: close\r\n\r\n`);

    await rig.expectForwarded(GET);
    expect(rig.backend.received()).not.toContain("forged");
  });

  test("repeated", async () => {
    await using rig = await startRig();

    await rig.send(
      `${GET}\r\nHost: a\r\nX-Service-Token: forged\r\nx_service_token: forged\r\nX-Service-Token: forged\r\nConnection: close\r\n\r\n`,
    );

    await rig.expectForwarded(GET);
    expect(rig.backend.received()).not.toContain("forged");
  });

  test("on a path whose policy sends no token", async () => {
    await using rig = await startRig();

    await rig.send(
      "GET /open HTTP/1.1\r\nHost: a\r\nX-Service-Token: forged\r\nx_service_token: forged\r\nConnection: close\r\n\r\n",
    );

    expect(rig.backend.requestLines()).toEqual(["GET /open HTTP/1.1"]);
    expect(rig.backend.received()).not.toMatch(/forged|x.service.token/i);
  });

  test("with a request to upgrade, which stays a plain request", async () => {
    await using rig = await startRig();

    await rig.send(
      `${GET}\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\nX-Service-Token: forged\r\n\r\n`,
    );

    await rig.expectForwarded(GET);
    expect(rig.backend.received()).not.toMatch(/forged|^upgrade:/im);
  });

  test("in the trailers of a chunked body", async () => {
    await using rig = await startRig();

    await rig.send(
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Service-Token\r\nConnection: close\r\n\r\n" +
        "3\r\nabc\r\n0\r\nX-Service-Token: forged\r\n\r\n",
    );

    await rig.expectForwarded("POST / HTTP/1.1");
    expect(rig.backend.received()).not.toMatch(/forged|^trailer:/im);
  });
});

test("fields named like members of every object do no harm (CVE-2026-21710)", async () => {
  await using rig = await startRig();

  await rig.send(
    `${GET}\r\nHost: a\r\n__proto__: x\r\nconstructor: y\r\nhasOwnProperty: z\r\nConnection: close\r\n\r\n`,
  );

  await rig.expectForwarded(GET);
  expect(({} as Record<string, unknown>).x).toBeUndefined();
});
