import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createDirectoryStore } from "../../../src/issuer/keys/directory-store.ts";
import { EMPTY_RING, type Ring } from "../../../src/issuer/keys/ring.ts";
import { ringOfOne } from "./key-material.ts";

/** A key directory as an operator may have left it: closed to others, with these files. */
export function keyDirectory(
  folder: { readonly path: string },
  files: Readonly<Record<string, string>> = {},
): string {
  const directory = join(folder.path, "keys");
  mkdirSync(directory, { mode: 0o700 });
  for (const [name, content] of Object.entries(files))
    writeFileSync(join(directory, name), content, { mode: 0o600 });
  return directory;
}

/** Puts a ring into a new key directory, as its first version. */
export async function storedRing(
  folder: { readonly path: string },
  passphrase?: string,
): Promise<{ readonly directory: string; readonly file: string; readonly ring: Ring }> {
  const directory = join(folder.path, "keys");
  const ring = await ringOfOne();
  await createDirectoryStore(directory, passphrase).save(ring, 0);
  return { directory, file: join(directory, "ring.1.json"), ring };
}

/** A ring that can be told from others. */
export function ringNamed(name: string): Ring {
  return { ...EMPTY_RING, withdrawn: [name] };
}

/** The permission bits of a path, in octal. */
export function modeOf(path: string): string {
  return (lstatSync(path).mode & 0o777).toString(8);
}

/** The names in a directory, in order. */
export function namesIn(directory: string): string[] {
  return readdirSync(directory).sort();
}

/** A directory with everything in it, byte for byte. */
export function snapshotOf(directory: string): unknown {
  const entries = namesIn(directory).map((name) => {
    const path = join(directory, name);
    const stats = lstatSync(path);
    return [name, stats.mode, stats.uid, stats.mtimeMs, stats.isFile() ? readFileSync(path, "base64") : ""];
  });
  return [lstatSync(directory).mode, ...entries];
}
