import { expect, test } from "vitest";
import { createAttempts } from "../../../src/gateway/token-endpoint/attempts.ts";
import {
  ACME_KEY,
  basic,
  CLIENT_CREDENTIALS,
  OPS_PASSWORD,
  startTokenEndpoint,
} from "../../support/token-endpoint.ts";

/** As docs/client-apps.md promises them. */
const MAX_FAILURES_OF_CLIENT = 10;
const MAX_FAILURES_OF_ADDRESS = 100;
const WINDOW_SECONDS = 60;

/** Attempts whose clock stands still until it is moved. */
function attemptsAt(start: number) {
  let time = start;
  const attempts = createAttempts(() => time);
  return {
    ...attempts,
    pass: (seconds: number) => {
      time += seconds * 1000;
    },
    fail(times: number, address: string, clientId: string) {
      for (let i = 0; i < times; i++) attempts.failed(address, clientId);
    },
  };
}

test("after ten wrong secrets not even the right one is tried for the rest of a minute", async () => {
  let now = Date.now();
  await using endpoint = await startTokenEndpoint({ now: () => now });
  const grant = { grant_type: CLIENT_CREDENTIALS };
  for (let i = 0; i < MAX_FAILURES_OF_CLIENT; i++)
    expect((await endpoint.ask(grant, basic("acme", "wrong"))).status).toBe(401);

  const refused = await endpoint.ask(grant, basic("acme", ACME_KEY));
  expect(refused).toMatchObject({ status: 429, body: { error: "temporarily_unavailable" } });
  expect(refused.headers.get("retry-after")).toBe(String(WINDOW_SECONDS));
  // Another client has done nothing wrong.
  expect((await endpoint.ask(grant, basic("ops", OPS_PASSWORD))).status).toBe(200);

  now += WINDOW_SECONDS * 1000;
  expect((await endpoint.ask(grant, basic("acme", ACME_KEY))).status).toBe(200);
});

test("secrets that are tried all at once are no more than ten", async () => {
  await using endpoint = await startTokenEndpoint();
  const ask = (clientSecret: string) =>
    endpoint.ask({ grant_type: CLIENT_CREDENTIALS, client_id: "ops", client_secret: clientSecret });
  const guesses = Array.from({ length: 3 * MAX_FAILURES_OF_CLIENT }, (_, index) => ask(`guess ${index}`));
  const right = ask(OPS_PASSWORD);

  expect((await right).status).toBe(429);
  const statuses = (await Promise.all(guesses)).map(({ status }) => status);
  expect(statuses.filter((status) => status === 401)).toHaveLength(MAX_FAILURES_OF_CLIENT);
});

test("right secrets are not counted", async () => {
  await using endpoint = await startTokenEndpoint();
  for (let i = 0; i < MAX_FAILURES_OF_CLIENT + 1; i++)
    expect((await endpoint.askAsAcme({ grant_type: CLIENT_CREDENTIALS })).status).toBe(200);
});

test("the client that has to wait waits at its address alone", () => {
  const attempts = attemptsAt(0);
  attempts.fail(MAX_FAILURES_OF_CLIENT, "192.0.2.1", "acme");
  expect(attempts.waitSeconds("192.0.2.1", "acme")).toBe(WINDOW_SECONDS);
  expect(attempts.waitSeconds("192.0.2.1", "other")).toBe(0);
  expect(attempts.waitSeconds("192.0.2.2", "acme")).toBe(0);
});

test("whoever tries many names has to wait with all of them", () => {
  const attempts = attemptsAt(0);
  for (let i = 1; i < MAX_FAILURES_OF_ADDRESS; i++) attempts.fail(1, "192.0.2.1", `name-${i}`);
  expect(attempts.waitSeconds("192.0.2.1", "acme")).toBe(0);
  attempts.fail(1, "192.0.2.1", "one more");
  attempts.pass(10);
  expect(attempts.waitSeconds("192.0.2.1", "acme")).toBe(WINDOW_SECONDS - 10);
  expect(attempts.waitSeconds("192.0.2.2", "acme")).toBe(0);
});

test.each([
  ["2001:db8:1:2:3::4", "2001:db8:1:2:ffff::1", true],
  ["2001:0db8:0001:0002::1", "2001:db8:1:2:3:4:5:6", true],
  ["[2001:db8::1]", "2001:db8:0:0:9::", true],
  ["2001:db8:1:2::1", "2001:db8:1:3::1", false],
  ["::1", "1::", false],
])("%s and %s are one network: %s", (first, second, isOne) => {
  const attempts = attemptsAt(0);
  attempts.fail(MAX_FAILURES_OF_CLIENT, first, "acme");
  expect(attempts.waitSeconds(second, "acme") > 0).toBe(isOne);
});

test("nobody waits longer than a minute where the clock is set back", () => {
  const attempts = attemptsAt(1_000_000_000);
  attempts.fail(MAX_FAILURES_OF_CLIENT, "192.0.2.1", "acme");
  attempts.pass(-3600);
  expect(attempts.waitSeconds("192.0.2.1", "acme")).toBe(0);
});
