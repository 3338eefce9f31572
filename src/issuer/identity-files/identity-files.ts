import { isDeepStrictEqual } from "node:util";
import { refreshOften, type SourceEvent, type Watch } from "../../refresh.ts";
import type { IdentityFile } from "./identity-file.ts";
import { KeptFile, type KeptFileOptions } from "./kept-file.ts";

/** Something that happened to a file with an ID token. */
export interface IdentityFileEvent extends SourceEvent {
  /** Absolute. */
  readonly path: string;
}

/** A file at one moment. */
export interface IdentityFileStatus {
  readonly path: string;
  /** When the token in it ends, in milliseconds since the epoch; `undefined` where it holds none that is good. */
  readonly expiresAt: number | undefined;
  /** Why it cannot be kept fresh. */
  readonly problem: string | undefined;
}

/** How often a file was written, and how often that failed, in this process. */
export interface IdentityFileWrites {
  readonly path: string;
  success: number;
  failure: number;
}

/** Files with an ID token each, kept fresh. */
export interface IdentityFiles {
  /** Keeps these files from now on, and no others; those stay as they are. Waits a second at most for what that takes. */
  adapt(files: readonly IdentityFile[]): Promise<void>;
  /** Does what is due. That happens every second, too. */
  refresh(): Promise<void>;
  status(): readonly IdentityFileStatus[];
  /** Also of files that are kept no more: no count becomes smaller. */
  writes(): readonly IdentityFileWrites[];
  /** Stops; the files stay. */
  close(): Promise<void>;
}

/** What {@link openIdentityFiles} needs. */
export interface IdentityFilesOptions extends Omit<KeptFileOptions, "onHealth" | "onWrite"> {
  readonly onEvent: (event: IdentityFileEvent) => void;
}

/** A key that is withdrawn is replaced within this time, and a file whose writing failed is tried again. */
const TICK_SECONDS = 1;
const UNWATCHED: Watch = { close() {} };

/** Begins with no file. */
export function openIdentityFiles({ onEvent, ...options }: IdentityFilesOptions): IdentityFiles {
  const writes = new Map<string, IdentityFileWrites>();
  let kept: readonly KeptFile[] = [];
  let ticking: Watch | undefined;
  let isClosed = false;

  function keep(file: IdentityFile): KeptFile {
    const { path } = file;
    const counts = writes.get(path) ?? { path, success: 0, failure: 0 };
    writes.set(path, counts);
    return new KeptFile(file, {
      ...options,
      onWrite: (outcome) => counts[outcome]++,
      onHealth: (health) => {
        if (!kept.some((one) => one.file === file)) return;
        const message =
          health.kind === "recovered"
            ? `${path} holds a fresh token again`
            : `${path} cannot be written, and what it holds stays: ${health.message}`;
        onEvent({ path, kind: health.kind, message });
      },
    });
  }

  const tendAll = () => kept.map((file) => file.tend());
  const idle = (files: readonly KeptFile[]) => Promise.all(files.map((file) => file.idle()));

  return {
    async adapt(files) {
      if (isClosed) return;
      const before = kept;
      kept = files.map((file) => before.find((one) => isDeepStrictEqual(one.file, file)) ?? keep(file));
      // What one of them is writing must not take the place of what is written from here on.
      await idle(before.filter((file) => !kept.includes(file)));
      void tendAll();
      await idle(kept);
      ticking?.close();
      if (isClosed) return;
      // A file that hangs holds up no other.
      const tick = async () => void tendAll();
      ticking = kept.length === 0 ? undefined : refreshOften(tick, TICK_SECONDS, () => UNWATCHED);
    },
    async refresh() {
      await Promise.all(tendAll());
    },
    status: () => kept.map(({ file, expiresAt, problem }) => ({ path: file.path, expiresAt, problem })),
    writes: () => [...writes.values()],
    async close() {
      isClosed = true;
      ticking?.close();
      await idle(kept);
    },
  };
}
