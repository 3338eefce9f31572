import { chmodSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, beforeEach, expect, test } from "vitest";
import { fixedKeys } from "../../../src/cli/rehearsal-keys.ts";
import { keyNeedsOf } from "../../../src/config/key-needs.ts";
import { type IdentityFile, requestFor } from "../../../src/issuer/identity-files/identity-file.ts";
import { readKeys } from "../../../src/issuer/keys/key-source.ts";
import { createTokens } from "../../../src/issuer/tokens.ts";
import { type ExaminedSidecar, examine, startExamined } from "./sidecar.ts";

let running: ExaminedSidecar;
let path: string;
let token: string;
const identity = (more: string) =>
  `identity: {account: a, algorithm: ES256, files: [{path: token, ${more}}]}\n`;

// The file is written beside the sidecar that runs, which does not keep it: it stays as a test leaves it.
beforeAll(async () => {
  running = await startExamined("http://127.0.0.1:9", { yaml: "identity: {account: a, algorithm: ES256}\n" });
  path = join(running.folder, "token");
  token = await running.sidecar.issuer.getIdToken({ audience: "x" });
  return () => running[Symbol.asyncDispose]();
});
beforeEach(() => {
  running.configure({ yaml: identity("audience: x") });
  rmSync(path, { force: true });
  writeFileSync(path, token, { mode: 0o600 });
});

const findings = async () => (await examine(running.folder)).of(`identity file ${path}`);

test("a file as it should be is verified with the public JWK Set", async () => {
  expect(await findings()).toEqual([
    {
      check: `identity file ${path}`,
      state: "ok",
      found: expect.stringMatching(
        /^its token is verified with the public JWK Set: for x, valid until 20\d\d-.*Z$/,
      ),
    },
  ]);
});

test("a file that is not there fails", async () => {
  rmSync(path);
  expect(await findings()).toMatchObject([{ state: "fail", found: "it is not there" }]);
});

test("a file that others may read fails, and so does one that its group may not", async () => {
  chmodSync(path, 0o644);
  expect(await findings()).toMatchObject([
    {
      state: "fail",
      found: "it is open to other users (mode 0644)",
      remedy: expect.stringContaining("remove"),
    },
    { state: "ok" },
  ]);
  chmodSync(path, 0o600);
  running.configure({ yaml: identity(`audience: x, group: ${process.getgid?.()}`) });
  expect(await findings()).toMatchObject([
    { state: "fail", found: "its mode is 0600, and should be 0640" },
    { state: "ok" },
  ]);
  running.configure({ yaml: identity("audience: x, group: no-such-group") });
  expect(await findings()).toMatchObject([
    { state: "fail", found: expect.stringContaining("there is no group no-such-group") },
  ]);
});

test.each([
  ["for another audience", () => tokenFor({ audience: "y" }), /^its token is refused: unexpected "aud"/],
  ["of another subject", () => tokenFor({ subject: "b" }), /^its token is refused: unexpected "sub"/],
  ["that has expired", () => tokenFor({}, 7200), /^its token is refused: "exp" claim/],
  ["whose signature is not its own", () => `${token.slice(0, -20)}${"A".repeat(20)}`, /signature/],
  ["with a line end behind it", () => `${token}\n`, /^its token is refused: this is not a token/],
])("a token %s fails", async (_what, textOf, found) => {
  writeFileSync(path, await textOf());
  expect(await findings()).toMatchObject([{ state: "fail", found: expect.stringMatching(found) }]);
});

/** A token of the sidecar's own key, made so many seconds ago. */
async function tokenFor(changes: Partial<IdentityFile>, secondsAgo = 0): Promise<string> {
  const { keys: source } = running.sidecar.config.issuer;
  const needs = keyNeedsOf(running.sidecar.config);
  const { set } = await readKeys(source, { needs, env: {}, now: Date.now });
  const now = () => Date.now() - secondsAgo * 1000;
  const tokens = createTokens({ url: running.sidecar.issuer.url, keys: fixedKeys([set]), now });
  const file = { path, group: undefined, subject: "a", audience: "x", lifetimeSeconds: 3600 };
  return tokens.tokenFor(requestFor({ ...file, claims: {}, algorithm: "ES256", ...changes }));
}

test("a token that says something else than is configured is to be looked at", async () => {
  running.configure({ yaml: identity("audience: x, claims: {team: b}") });
  expect(await findings()).toMatchObject([
    { state: "warn", found: expect.stringMatching(/^its token, for x, .* does not say what is configured$/) },
  ]);
  expect(readFileSync(path, "utf8")).toBe(token);
});
