import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A Secret or ConfigMap in a folder, as the kubelet puts it there. */
export interface MountedVolume {
  /** Puts other texts in the place of all, in one step: a link to another folder takes the place of the one before. */
  replace(files: Readonly<Record<string, string>>): void;
}

/**
 * Mounts texts by the names of their files, readable for the owner and the group alone.
 *
 * @param path a folder that is not there yet
 * @see https://pkg.go.dev/k8s.io/kubernetes/pkg/volume/util#AtomicWriter
 */
export function mountVolume(path: string, files: Readonly<Record<string, string>>): MountedVolume {
  let version = 0;
  function replace(texts: Readonly<Record<string, string>>): void {
    const folder = join(path, `..${++version}`);
    mkdirSync(folder, { recursive: true });
    for (const [name, text] of Object.entries(texts))
      writeFileSync(join(folder, name), text, { mode: 0o440 });
    symlinkSync(`..${version}`, join(path, "..data_tmp"));
    renameSync(join(path, "..data_tmp"), join(path, "..data"));
    rmSync(join(path, `..${version - 1}`), { recursive: true, force: true });
  }
  replace(files);
  for (const name of Object.keys(files)) symlinkSync(join("..data", name), join(path, name));
  return { replace };
}
