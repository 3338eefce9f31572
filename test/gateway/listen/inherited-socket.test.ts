import { expect, test } from "vitest";
import { inheritedSocketOf, takePassedSockets } from "../../../src/gateway/listen/inherited-socket.ts";
import type { InheritedSocket } from "../../../src/gateway/listen/listen-options.ts";

const PID = 4711;
const address = (name?: string): InheritedSocket => ({ kind: "systemd", name });

test("sockets begin at descriptor 3, each with its name", () => {
  const env = { LISTEN_FDS: "2", LISTEN_PID: "4711", LISTEN_FDNAMES: "http:admin" };
  expect(takePassedSockets(env, PID)).toEqual([
    { name: "http", fd: 3 },
    { name: "admin", fd: 4 },
  ]);
});

test("sockets may have no names", () => {
  expect(takePassedSockets({ LISTEN_FDS: "1", LISTEN_PID: "4711" }, PID)).toEqual([
    { name: undefined, fd: 3 },
  ]);
});

test("the variables are not for the programs that this one starts", () => {
  const env = { LISTEN_FDS: "1", LISTEN_PID: "4711", LISTEN_FDNAMES: "a", OTHER: "b" };
  takePassedSockets(env, PID);
  expect(env).toEqual({ OTHER: "b" });
  const foreign = { LISTEN_FDS: "1", LISTEN_PID: "1" };
  expect(() => takePassedSockets(foreign, PID)).toThrow();
  expect(foreign).toEqual({});
});

test("without LISTEN_FDS there are none", () => {
  expect(takePassedSockets({ LISTEN_PID: "4711" }, PID)).toEqual([]);
});

test.each([
  [
    { LISTEN_FDS: "1", LISTEN_PID: "4710" },
    "the sockets in LISTEN_FDS were passed to process 4710, and this is 4711; start Countersign itself, not by npx or npm, and from a script with exec",
  ],
  [
    { LISTEN_FDS: "1" },
    "the sockets in LISTEN_FDS were passed to process (no LISTEN_PID), and this is 4711; start Countersign itself, not by npx or npm, and from a script with exec",
  ],
  [{ LISTEN_FDS: "two", LISTEN_PID: "4711" }, "LISTEN_FDS is no number of sockets"],
  [{ LISTEN_FDS: "-1", LISTEN_PID: "4711" }, "LISTEN_FDS is no number of sockets"],
  [{ LISTEN_FDS: "1e9", LISTEN_PID: "4711" }, "LISTEN_FDS is no number of sockets"],
])("%j is refused", (env, message) => {
  expect(() => takePassedSockets(env, PID)).toThrow(expect.objectContaining({ code: "ERR_LISTEN", message }));
});

const TWO = [
  { name: "http", fd: 3 },
  { name: undefined, fd: 4 },
];

test("an address means the socket of its name, or the only one", () => {
  expect(inheritedSocketOf(address("http"), TWO)).toBe(3);
  expect(inheritedSocketOf(address(), TWO.slice(1))).toBe(4);
});

test.each([
  [
    address(),
    [],
    "cannot listen on systemd: no socket was passed to this process; it is to be started by its systemd.socket unit",
  ],
  [
    address("http"),
    [],
    "cannot listen on systemd:http: no socket was passed to this process; it is to be started by its systemd.socket unit",
  ],
  [
    address("admin"),
    TWO,
    "cannot listen on systemd:admin: no socket of this name was passed; the names are: http, (descriptor 4, without a name)",
  ],
  [
    address(),
    TWO,
    "cannot listen on systemd: 2 sockets were passed; name one of them: http, (descriptor 4, without a name)",
  ],
  [
    address("a"),
    [
      { name: "a", fd: 3 },
      { name: "a", fd: 4 },
    ],
    "cannot listen on systemd:a: 2 sockets were passed; name one of them: a, a",
  ],
])("%j among %j cannot be used", (wanted, sockets, message) => {
  expect(() => inheritedSocketOf(wanted, sockets)).toThrow(
    expect.objectContaining({ code: "ERR_LISTEN", message }),
  );
});
