import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createRemoteJWKSet, type JSONWebKeySet, jwtVerify } from "jose";
import { expect, test } from "vitest";
import { copySettingsOf } from "../../src/cli/static-issuer/copy-settings.ts";
import { bringUpToDate, keepCopy } from "../../src/cli/static-issuer/keep-copy.ts";
import { loadConfig } from "../../src/config/load.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { kidOf, passTime, startRotatingSidecar, startRotation } from "../support/rotation.ts";
import { startStaticHost } from "../support/static-host.ts";

const HOUR = 3600;
const MAX_AGE_SECONDS = 12 * HOUR;

/** Renews a copy at `directory`, as somebody does who reads the configuration in `file`. */
type Renewal = (
  directory: string,
  file: string,
) => Promise<{ renew(): Promise<void>; close(): Promise<void> }>;

const byWatching: Renewal = async (directory, file) => {
  const copy = await keepCopy({
    directory,
    file,
    read: () => loadConfig({ file }),
    now: Date.now,
    onCopy: () => {},
    onHealth: ({ kind }) => expect(kind).toBe("recovered"),
  });
  return { renew: copy.refresh, close: copy.close };
};

const byTimer: Renewal = async (directory, file) => {
  const settings = await copySettingsOf(await loadConfig({ file }), directory);
  const renew = async () => void (await bringUpToDate(directory, settings, Date.now()));
  await renew();
  return { renew, close: async () => {} };
};

/** A rotation of a key whose default overlap is 28 h, before a verifier that knows the copy alone. */
async function rotateBefore(renewal: Renewal, everySeconds: number) {
  using folder = temporaryFolder();
  const site = join(folder.path, "site");
  await using host = await startStaticHost(site);
  const issuer = `url: '${host.url}', jwksMaxAge: ${MAX_AGE_SECONDS}s`;
  await using sidecar = await startRotatingSidecar("http://127.0.0.1:9", { issuer: `${issuer},` });
  const { keys } = sidecar.config.issuer;
  if (keys.kind !== "directory") throw new Error("the sidecar has no key directory");
  const file = join(folder.path, "sidecar.yaml");
  const keysYaml = `keys: {directory: '${keys.directory}'}`;
  writeFileSync(file, `upstream: http://127.0.0.1:9\nissuer: {${issuer}, ${keysYaml}}\n`);
  const copy = await renewal(site, file);
  const jwksUrl = new URL(`${host.url}/.well-known/jwks.json`);
  const copiedKids = async () => {
    const { keys: copied } = (await (await fetch(jwksUrl)).json()) as JSONWebKeySet;
    return copied.map(({ kid }) => kid);
  };
  // It keeps what it has for as long as it may, and an unknown kid does not make it fetch again.
  const verifier = createRemoteJWKSet(jwksUrl, {
    cacheMaxAge: MAX_AGE_SECONDS * 1000,
    cooldownDuration: Number.POSITIVE_INFINITY,
  });
  const token = () => sidecar.issuer.signJwt({ subject: "a", expiresIn: "5m" });
  const oldKid = kidOf(await token());

  const { pendingSeconds, retiringSeconds } = await startRotation(sidecar);
  const steps = [];
  for (let passed = 0; passed < pendingSeconds + retiringSeconds + 2 * everySeconds; passed += everySeconds) {
    passTime(everySeconds);
    await sidecar.issuer.refreshKeys();
    const fresh = await token();
    const kids = await copiedKids();
    // Before the copy is renewed: what verifiers have is as old as it gets.
    const isAccepted = await jwtVerify(fresh, verifier, { issuer: host.url }).then(
      () => true,
      () => false,
    );
    steps.push({ isAccepted, isOld: kidOf(fresh) === oldKid, copied: kids.length });
    await copy.renew();
  }
  await copy.close();
  return { steps, kidsAtLast: await copiedKids(), kid: kidOf(await token()), oldKid };
}

test.each([
  ["by --watch", byWatching],
  ["by a timer", byTimer],
])(
  "a verifier that knows a copy alone, renewed %s, refuses no token of a rotation",
  async (_how, renewal) => {
    const { steps, kidsAtLast, kid, oldKid } = await rotateBefore(renewal, 14 * HOUR);
    expect(steps.every(({ isAccepted }) => isAccepted)).toBe(true);
    // The new key is there while the old one signs, and in the end it is there alone.
    expect(steps).toContainEqual({ isAccepted: true, isOld: true, copied: 2 });
    expect(steps).toContainEqual(expect.objectContaining({ isOld: false }));
    expect(kid).not.toBe(oldKid);
    expect(kidsAtLast).toEqual([kid]);
  },
);

test("of a copy that is renewed less often than the overlap is long, it does", async () => {
  const { steps } = await rotateBefore(byTimer, 30 * HOUR);
  expect(steps).toContainEqual({ isAccepted: false, isOld: false, copied: 1 });
});
