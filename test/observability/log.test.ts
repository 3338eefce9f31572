import { describe, expect, test } from "vitest";
import { RequestRecord } from "../../src/gateway/request-record.ts";
import { isoTime } from "../../src/observability/iso-time.ts";
import { keptLog } from "../support/log.ts";

/** A request that ended with this status. */
function recordOf(status: number, isComplete = true): RequestRecord {
  const clientRequest = { method: "GET", url: "/", httpVersion: "1.1", headers: {} };
  const record = new RequestRecord(clientRequest as unknown as RequestRecord["clientRequest"], "one");
  return Object.assign(record, { status, isComplete, endedAt: performance.now() });
}

const STATUSES = [200, 404, 502];

test.each([
  ["debug", STATUSES],
  ["info", STATUSES],
  ["warn", [404, 502]],
  ["error", [502]],
  ["silent", []],
] as const)("at the level %s these are logged: %j", (level, logged) => {
  const kept = keptLog({ level });
  for (const status of STATUSES) kept.log.request(recordOf(status));
  expect(kept.objects().map(({ status }) => status)).toEqual(logged);
});

const LONG = "x".repeat(11_000);
const partners = { name: "partners" };

test.each<[string, object]>([
  ["who called", { authentication: { kind: "user", authenticator: partners, user: { sub: LONG } } }],
  ["which client asked for a token", { oauthClient: LONG }],
  ["why a credential is bad", { authentication: { kind: "invalid", authenticator: partners, reason: LONG } }],
  ["why it failed", { cause: LONG }],
  ["what was asked for", { clientRequest: { method: "GET", url: `/${LONG}`, headers: {} } }],
])("a line stays below what a pipe takes whole, however long it is told %s", (_, told) => {
  const kept = keptLog({ subject: "plain" });
  kept.log.request(Object.assign(recordOf(502), told));
  expect(kept.objects()).toHaveLength(1);
  expect(kept.lines[0]).toContain("…");
  expect(Buffer.byteLength(kept.lines[0] ?? "")).toBeLessThan(2048);
});

test.each([
  ["info", ["info", "warn", "error", "announced"]],
  ["warn", ["warn", "error"]],
  ["silent", []],
] as const)("at the level %s these events are: %j", (level, messages) => {
  for (const format of ["json", "pretty"] as const) {
    const { log, lines } = keptLog({ level, format });
    log.info("info");
    log.warn("warn");
    log.error("error");
    log.announce("announced", "announced");
    expect(
      lines.map(
        (line) => /info|warn|error|announced/.exec(line.replace(/"level":"\w+"|warning: |error: /, ""))?.[0],
      ),
    ).toEqual(messages);
  }
});

test("another configuration changes the level, the sampling and the subject at once, and not the format", () => {
  const kept = keptLog();
  kept.log.adapt({ level: "warn", format: "pretty", subject: "none", sampleSuccess: 1 });
  for (const status of STATUSES) kept.log.request(recordOf(status));
  expect(kept.objects().map(({ status }) => status)).toEqual([404, 502]);
  kept.log.adapt({ level: "info", format: "pretty", subject: "none", sampleSuccess: 0 });
  for (const status of STATUSES) kept.log.request(recordOf(status));
  expect(kept.objects().map(({ status }) => status)).toEqual([404, 502, 404, 502]);
});

describe("sampling", () => {
  test("leaves out of what went well all but the share that is asked for, and nothing else", () => {
    let drawn = 0;
    const kept = keptLog({ sampleSuccess: 0.25 }, { random: () => (drawn++ % 10) / 10 });
    for (let sent = 0; sent < 10; sent++)
      for (const status of [200, 304, 404, 502]) kept.log.request(recordOf(status));
    const count = (wanted: number) => kept.objects().filter(({ status }) => status === wanted).length;
    expect([count(200) + count(304), count(404), count(502)]).toEqual([6, 10, 10]);
  });

  test("leaves nothing out that did not end, or that failed", () => {
    const kept = keptLog({ sampleSuccess: 0 });
    kept.log.request(recordOf(200, false));
    kept.log.request(Object.assign(recordOf(200), { cause: "it broke" }));
    expect(kept.lines).toHaveLength(2);
  });
});

test.each([
  ["auto", true, true],
  ["auto", false, false],
  ["json", true, false],
  ["pretty", false, true],
] as const)("%s, with a terminal: %s, is text: %s", (format, isTerminal, isPretty) => {
  expect(keptLog({ format }, { isTerminal }).log.isPretty).toBe(isPretty);
});

test("an event is a JSON object, with its level, time and process", () => {
  const kept = keptLog();
  kept.log.warn("it\nhappened\x9b", { what: "x\u2028", absent: undefined });
  expect(kept.lines[0]).not.toMatch(/[\n\x9b\u2028]./);
  expect(kept.objects()).toEqual([
    {
      level: "warn",
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:]+\.\d{3}Z$/),
      pid: process.pid,
      msg: "it\nhappened\x9b",
      what: "x\u2028",
    },
  ]);
});

test("as text an event is a line, with what is wrong below it", () => {
  const { log, lines } = keptLog({ format: "pretty" });
  const now = /^\S+Z /;
  log.error("it cannot be used", { problem: "first\nsecond\x1b" });
  log.warn("it\nhappened");
  log.info('a "quote"');
  expect(lines.map((line) => line.replace(now, ""))).toEqual([
    "error: it cannot be used:\n  first\n  second\\u001b\n",
    "warning: it\\nhappened\n",
    'a "quote"\n',
  ]);
});

test("what is announced has a text of its own for people, and members for programs", () => {
  const text = keptLog({ format: "pretty" });
  text.log.announce("one\ntwo", "it runs", { port: 1 });
  expect(text.lines).toEqual(["one\ntwo\n"]);
  const json = keptLog();
  json.log.announce("one\ntwo", "it runs", { port: 1 });
  expect(json.objects()).toMatchObject([{ level: "info", msg: "it runs", port: 1 }]);
});

test("times are written as ISO 8601, to the millisecond", () => {
  for (const time of [0, 1, 999, 1000, 1_767_225_600_010, 1_767_225_599_100, Date.now()])
    expect(isoTime(time)).toBe(new Date(time).toISOString());
});
