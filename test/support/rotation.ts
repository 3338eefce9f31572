import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeProtectedHeader } from "jose";
import { vi } from "vitest";
import { keyNeedsOf } from "../../src/config/key-needs.ts";
import { createDirectoryStore } from "../../src/issuer/keys/directory-store.ts";
import { replaceKeys, rotateKeys } from "../../src/issuer/keys/manage.ts";
import {
  type KeyNeed,
  type KeyPurpose,
  pendingSecondsOf,
  retiringSecondsOf,
} from "../../src/issuer/keys/ring.ts";
import { startSidecar, type TestSidecar } from "./sidecar.ts";

/** How long the phases of a rotation take. */
export interface RotationTimes {
  /** From the publication of the new key to its first signature. */
  readonly pendingSeconds: number;
  /** From the last signature of the old key to its end. */
  readonly retiringSeconds: number;
}

/**
 * Starts a sidecar with a key directory of its own, and stops the clock: until the sidecar is closed, time passes by
 * {@link passTime} alone.
 *
 * @param yaml further YAML; what it says about the issuer stands in `issuer`
 * @param issuer further keys of `issuer`, each with a comma behind it
 */
export async function startRotatingSidecar(
  upstream: string,
  { issuer = "", yaml = "" }: { readonly issuer?: string; readonly yaml?: string },
): Promise<TestSidecar> {
  const directory = await mkdtemp(join(tmpdir(), "countersign-rotation-"));
  vi.setSystemTime(new Date());
  const sidecar = await startSidecar(upstream, {
    yaml: `issuer: {${issuer} keys: {directory: ${JSON.stringify(directory)}}}\n${yaml}`,
    now: () => Date.now(),
  });
  return {
    ...sidecar,
    async [Symbol.asyncDispose]() {
      await sidecar.close();
      vi.useRealTimers();
      await rm(directory, { recursive: true });
    },
  };
}

/** Lets time pass for everything in this process at once: the sidecar, and the clients with what they keep. */
export function passTime(seconds: number): void {
  vi.setSystemTime(Date.now() + seconds * 1000);
}

/** Puts a successor of the key that signs into the ring, as the operator's command does, and has the sidecar notice. */
export async function startRotation(
  sidecar: TestSidecar,
  purpose: KeyPurpose = "token",
): Promise<RotationTimes> {
  const need = await changeKeys(sidecar, purpose, rotateKeys);
  return {
    pendingSeconds: pendingSecondsOf(directoryOf(sidecar).rotation),
    retiringSeconds: retiringSecondsOf(need.longestLifetimeSeconds),
  };
}

/** Withdraws the key that signs: it is published no more, and another one signs at once. */
export async function withdrawKey(sidecar: TestSidecar, purpose: KeyPurpose = "token"): Promise<void> {
  await changeKeys(sidecar, purpose, replaceKeys);
}

async function changeKeys(
  sidecar: TestSidecar,
  purpose: KeyPurpose,
  change: typeof rotateKeys,
): Promise<KeyNeed> {
  const need = keyNeedsOf(sidecar.config).find((candidate) => candidate.purpose === purpose);
  if (!need) throw new Error(`the sidecar signs nothing for the purpose ${purpose}`);
  await change(createDirectoryStore(directoryOf(sidecar).directory), [need], Date.now());
  await sidecar.issuer.refreshKeys();
  return need;
}

function directoryOf({ config }: TestSidecar) {
  const { keys } = config.issuer;
  if (keys.kind !== "directory") throw new Error("the sidecar has no key directory");
  return keys;
}

/** The kids that the sidecar publishes now, as a client finds them. */
export async function publishedKids({ issuer }: TestSidecar): Promise<string[]> {
  const response = await fetch(`${issuer.url}/.well-known/jwks.json`);
  const { keys } = (await response.json()) as { keys: { kid: string }[] };
  return keys.map(({ kid }) => kid);
}

/** The kid of the key that signed a token. */
export function kidOf(token: string): string | undefined {
  return decodeProtectedHeader(token).kid;
}
