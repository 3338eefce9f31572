import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loggedBy } from "../../src/cli/log-events.ts";
import { startSidecar } from "../../src/cli/running.ts";
import { parseConfig } from "../../src/index.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { keptLog } from "../support/log.ts";

test("what fails after its client has left is a line of its own, as that of the request has been written", async () => {
  using folder = temporaryFolder();
  const began = Promise.withResolvers<void>();
  const mayEnd = Promise.withResolvers<void>();
  Object.assign(globalThis, { logEventsTest: { began, mayEnd } });
  const file = join(folder.path, "late.mjs");
  writeFileSync(
    file,
    `export default async () => {
  logEventsTest.began.resolve();
  await logEventsTest.mayEnd.promise;
  throw new Error("too late");
};
`,
  );
  const { config } = parseConfig(
    `listen: 127.0.0.1:0
upstream: http://127.0.0.1:9
issuer: {keys: {ephemeral: true}}
policies: [{name: late, module: {file: ${file}, timeout: 30s}}]
`,
    { file: "sidecar.yaml" },
  );
  const kept = keptLog();
  const { sidecar, running } = await startSidecar(config, kept.log);
  try {
    kept.lines.length = 0;
    const socket = connect(Number(new URL(running.url).port), "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: one\r\n\r\n");
    await began.promise;
    socket.destroy();
    await once(socket, "close");
    await expect.poll(() => kept.objects()).toMatchObject([{ msg: "request", outcome: "aborted" }]);
    mayEnd.resolve();
    await expect.poll(() => kept.lines).toHaveLength(2);
    expect(kept.objects()[1]).toMatchObject({
      level: "error",
      code: "ERR_MODULE_FAILED",
      requestId: "one",
      cause: expect.stringContaining("too late"),
    });
  } finally {
    await sidecar.close();
  }
});

describe("what becomes of keys and files is logged:", () => {
  const logged = (tell: (options: ReturnType<typeof loggedBy>) => void) => {
    const kept = keptLog();
    tell(loggedBy(kept.log));
    return kept.objects();
  };

  test("a key that signs from now on", () => {
    const key = { kind: "key", kid: "k", algorithm: "EdDSA", purpose: "token", state: "active" } as const;
    expect(logged(({ onKeyEvent }) => onKeyEvent?.({ ...key, until: 0 }))).toMatchObject([
      {
        level: "info",
        msg: "EdDSA key k signs from now on",
        kid: "k",
        state: "active",
        until: "1970-01-01T00:00:00.000Z",
      },
    ]);
  });

  test("keys that cannot be written are an error, and that they can again is not", () => {
    expect(
      logged(({ onKeyEvent }) => {
        onKeyEvent?.({ kind: "problem", message: "no space" });
        onKeyEvent?.({ kind: "recovered" });
      }),
    ).toMatchObject([
      { level: "error", code: "ERR_KEY", msg: expect.stringMatching(/^ERR_KEY .*: no space$/) },
      { level: "info", msg: "the keys can be read and written again" },
    ]);
  });

  test("a file of a policy or a listener that cannot be read is a warning", () => {
    const event = { key: "listen[0].tls", kind: "problem", message: "no certificate" } as const;
    const expected = { level: "warn", key: "listen[0].tls", msg: "listen[0].tls: no certificate" };
    expect(
      logged(({ onListenerEvent, onPolicyEvent }) => {
        onListenerEvent?.(event);
        onPolicyEvent?.({ ...event, kind: "reloaded" });
      }),
    ).toMatchObject([expected, { ...expected, level: "info" }]);
  });

  test("a file with an identity token that cannot be written is a warning, with its path", () => {
    const event = { path: "/run/token", kind: "problem", message: "/run/token cannot be written" } as const;
    const expected = { level: "warn", key: "identity.files", msg: `identity.files: ${event.message}` };
    expect(
      logged(({ onIdentityFileEvent }) => {
        onIdentityFileEvent?.(event);
        onIdentityFileEvent?.({ ...event, kind: "recovered" });
      }),
    ).toMatchObject([expected, { ...expected, level: "info" }]);
  });
});
