import { mkdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { createDirectoryStore } from "../../../src/issuer/keys/directory-store.ts";
import { rotateKeys } from "../../../src/issuer/keys/manage.ts";
import { openManagedKeys } from "../../../src/issuer/keys/managed-keys.ts";
import { temporaryFolder } from "../../support/command-line.ts";
import { namesIn, ringNamed, snapshotOf, storedRing } from "./key-directory.ts";
import { errorOf, kidsOf, NOW, needFor, refusalOf, ringOfOne } from "./key-material.ts";

/** What the store asks of the file system, in order; a step may be made to fail. */
const disk = vi.hoisted(() => ({
  steps: [] as string[],
  /** Called before each step, and may throw in its place. */
  before: (_step: string): void => {},
}));

vi.mock("node:fs/promises", async (original) => {
  const real = await original<typeof import("node:fs/promises")>();

  function take(step: string): void {
    disk.steps.push(step);
    disk.before(step);
  }

  /** `name` with its first argument's last part: `open ring.1.json`. A temporary file's name differs each time. */
  function watched<Arguments extends unknown[], Result>(
    name: string,
    call: (...arguments_: Arguments) => Promise<Result>,
  ): (...arguments_: Arguments) => Promise<Result> {
    return async (...arguments_) => {
      take(`${name} ${nameOf(arguments_[0])}`);
      return call(...arguments_);
    };
  }

  function nameOf(path: unknown): string {
    const name = String(path).split("/").at(-1) ?? "";
    return name.endsWith(".tmp") ? "temporary" : name;
  }

  const open = watched("open", async (...arguments_: Parameters<typeof real.open>): Promise<FileHandle> => {
    const handle = await real.open(...arguments_);
    const { writeFile, sync, close } = handle;
    const name = nameOf(arguments_[0]);
    handle.writeFile = async (...data) => {
      // As much of it as still had room.
      await writeFile.call(handle, String(data[0]).slice(0, 10));
      take(`write ${name}`);
      return writeFile.call(handle, String(data[0]).slice(10));
    };
    handle.sync = async () => {
      take(`sync ${name}`);
      return sync.call(handle);
    };
    handle.close = async () => {
      await close.call(handle);
      take(`close ${name}`);
    };
    return handle;
  });
  return {
    ...real,
    open,
    mkdir: watched("mkdir", real.mkdir as (path: string, options: object) => Promise<string | undefined>),
    stat: watched("stat", (path: string) => real.stat(path)),
    readdir: watched("readdir", (path: string) => real.readdir(path)),
    link: watched("link", real.link as (from: string, to: string) => Promise<void>),
    rename: watched("rename", real.rename as (from: string, to: string) => Promise<void>),
  };
});

afterEach(() => {
  disk.before = () => {};
  disk.steps.length = 0;
});

function errno(code: string, step: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: made up, ${step}`), { code });
}

/** Lets the step of this place in the order fail, and those before and after it succeed. */
function failAt(index: number, code: string): void {
  disk.steps.length = 0;
  disk.before = (step) => {
    if (disk.steps.length - 1 === index) throw errno(code, step);
  };
}

function works(): void {
  disk.before = () => {};
}

const SAVE_STEPS = [
  "mkdir keys",
  "stat keys",
  "open temporary",
  "write temporary",
  "sync temporary",
  "close temporary",
  "link temporary",
  "readdir keys",
  "stat keys",
  "open keys",
  "sync keys",
  "close keys",
  "readdir keys",
  "stat keys",
];
const LINK = SAVE_STEPS.indexOf("link temporary");
const DURABLE = SAVE_STEPS.indexOf("close keys");

test("a ring is written aside and synced, then put in place, then the directory is synced", async () => {
  using folder = temporaryFolder();
  const { directory } = await storedRing(folder);
  disk.steps.length = 0;
  await createDirectoryStore(directory).save(ringNamed("new"), 1);
  expect(disk.steps).toEqual(SAVE_STEPS);
});

test("every directory that is made is synced into the one around it", async () => {
  using folder = temporaryFolder();
  await createDirectoryStore(join(folder.path, "a", "b", "keys")).save(ringNamed("new"), 0);
  const around = folder.path.split("/").at(-1);
  const synced = disk.steps.filter((step) => step.startsWith("sync ") && step !== "sync temporary");
  expect(synced.toSorted()).toEqual([`sync ${around}`, "sync a", "sync b", "sync keys"].toSorted());
  expect(synced.at(-1)).toBe("sync keys");
});

describe.each(["ENOSPC", "EROFS", "EIO", "EDQUOT"])("where the disk says %s", (code) => {
  test.each(SAVE_STEPS.slice(0, LINK + 1).map((step, index) => [step, index] as const))(
    "at %s (step %i), the old ring stays as it was, and nothing else",
    async (step, index) => {
      using folder = temporaryFolder();
      const { directory, ring } = await storedRing(folder);
      const snapshot = snapshotOf(directory);
      failAt(index, code);

      const error = await errorOf(createDirectoryStore(directory).save(await ringOfOne(), 1));

      works();
      expect(error.message).toBe(`${directory}: the key ring cannot be written: ${code}: made up, ${step}`);
      expect(error.cause).toMatchObject({ code });
      expect(snapshotOf(directory)).toEqual(snapshot);
      const loaded = await createDirectoryStore(directory).load();
      expect(loaded.version).toBe(1);
      expect(kidsOf(loaded.ring)).toEqual(kidsOf(ring));
    },
  );

  test.each(SAVE_STEPS.slice(LINK + 1, DURABLE + 1).map((step, index) => [step, LINK + 1 + index] as const))(
    "at %s (step %i), the ring is not said to be saved, and the new one is there whole",
    async (_step, index) => {
      using folder = temporaryFolder();
      const { directory } = await storedRing(folder);
      const next = await ringOfOne();
      failAt(index, code);

      const message = await refusalOf(createDirectoryStore(directory).save(next, 1));

      works();
      expect(message.startsWith(`${directory}: `)).toBe(true);
      expect(message).toContain(code);
      expect(namesIn(directory)).toEqual(["ring.1.json", "ring.2.json"]);
      const loaded = await createDirectoryStore(directory).load();
      expect(loaded.version).toBe(2);
      expect(kidsOf(loaded.ring)).toEqual(kidsOf(next));
    },
  );

  test.each(SAVE_STEPS.slice(DURABLE + 1).map((step, index) => [step, DURABLE + 1 + index] as const))(
    "at %s (step %i), the ring is saved, and the one before it is removed the next time",
    async (_step, index) => {
      using folder = temporaryFolder();
      const { directory } = await storedRing(folder);
      failAt(index, code);
      expect(await createDirectoryStore(directory).save(ringNamed("second"), 1)).toBe(2);
      works();
      expect(namesIn(directory)).toEqual(["ring.1.json", "ring.2.json"]);
      expect(await createDirectoryStore(directory).save(ringNamed("third"), 2)).toBe(3);
      expect(namesIn(directory)).toEqual(["ring.3.json"]);
    },
  );

  test("a first start makes nothing that a later one would stumble over", async () => {
    using folder = temporaryFolder();
    const store = createDirectoryStore(join(folder.path, "keys"));
    const options = {
      store,
      rotation: { everySeconds: undefined, overlapSeconds: 0 },
      needs: [needFor()],
      now: () => NOW,
      onEvent: () => {},
    };
    disk.before = (step) => {
      if (step === "write temporary") throw errno(code, step);
    };
    expect(await refusalOf(openManagedKeys(options))).toBe(
      `${store.name}: the key ring cannot be written: ${code}: made up, write temporary`,
    );
    expect(namesIn(store.name)).toEqual([]);

    works();
    const keys = await openManagedKeys(options);
    expect(keys.current().published).toHaveLength(1);
    expect(namesIn(store.name)).toEqual(["ring.1.json"]);
    await keys.close();
  });
});

test("a disk that fails in the same way at each try says the same each time", async () => {
  using folder = temporaryFolder();
  const { directory } = await storedRing(folder);
  disk.before = (step) => {
    // As Node.js words it, with the path.
    if (step === "open temporary")
      throw errno("ENOSPC", `open '${directory}/.ring.${crypto.randomUUID()}.tmp'`);
  };
  const messages = [];
  for (let tries = 0; tries < 3; tries++)
    messages.push(await refusalOf(createDirectoryStore(directory).save(ringNamed("new"), 1)));
  expect(new Set(messages).size).toBe(1);
  expect(messages[0]).toContain(`${directory}: the key ring cannot be written: ENOSPC`);
});

describe("a save that another process has built upon before it is done", () => {
  /** Another process loads and saves as soon as the first one's ring is in its place. */
  function letAnotherProcessGoOn(directory: string): void {
    disk.before = (step) => {
      if (step !== "readdir keys" || !namesIn(directory).includes("ring.2.json")) return;
      disk.before = () => {};
      const next = join(directory, "ring.3.json");
      const saved = JSON.parse(readFileSync(join(directory, "ring.2.json"), "utf8"));
      const built = {
        ...saved,
        withdrawn: [...saved.withdrawn, "another"],
        saves: ["theirs", ...saved.saves],
      };
      writeFileSync(next, JSON.stringify(built), { mode: 0o600 });
      rmSync(join(directory, "ring.2.json"));
    };
  }

  test("has been made", async () => {
    using folder = temporaryFolder();
    const { directory } = await storedRing(folder);
    const store = createDirectoryStore(directory);
    await store.load();
    letAnotherProcessGoOn(directory);
    expect(await store.save(ringNamed("mine"), 1)).toBe(2);
    expect((await store.load()).ring.withdrawn).toEqual(["mine", "another"]);
  });

  test("is not made a second time", async () => {
    using folder = temporaryFolder();
    const { directory } = await storedRing(folder);
    letAnotherProcessGoOn(directory);
    const { after } = await rotateKeys(createDirectoryStore(directory), [needFor()], NOW);
    const { ring } = await createDirectoryStore(directory).load();
    expect(ring.withdrawn).toEqual(["another"]);
    expect(kidsOf(ring)).toEqual(kidsOf(after));
    expect(kidsOf(ring)).toHaveLength(2);
  });
});

describe.each(["EPERM", "ENOTSUP", "ENOSYS"])(
  "on a file system whose answer to a hard link is %s",
  (code) => {
    const withoutLinks = () => {
      disk.before = (step) => {
        if (step.startsWith("link ")) throw errno(code, step);
      };
    };

    test("a ring is renamed into its place", async () => {
      using folder = temporaryFolder();
      const { directory } = await storedRing(folder);
      withoutLinks();
      const store = createDirectoryStore(directory);
      expect(await store.save(ringNamed("new"), 1)).toBe(2);
      expect(disk.steps).toContain("rename temporary");
      expect(await store.load()).toEqual({ ring: ringNamed("new"), version: 2 });
      expect(namesIn(directory)).toEqual(["ring.2.json"]);
    });

    test("of rings that are saved at once, one wins", async () => {
      using folder = temporaryFolder();
      const { directory } = await storedRing(folder);
      withoutLinks();
      const saves = Array.from({ length: 8 }, (_, i) =>
        createDirectoryStore(directory).save(ringNamed(`number ${i}`), 1),
      );
      const winners = (await Promise.all(saves)).flatMap((version, i) =>
        version === 2 ? [`number ${i}`] : [],
      );
      expect(winners).toHaveLength(1);
      expect((await createDirectoryStore(directory).load()).ring.withdrawn).toEqual(winners);
      expect(namesIn(directory)).toEqual(["ring.2.json"]);
    });

    test("what a process left that was killed while it put a ring there stops nobody for long", async () => {
      using folder = temporaryFolder();
      const { directory } = await storedRing(folder);
      withoutLinks();
      const claim = join(directory, ".ring.2.json.claim.tmp");
      mkdirSync(claim);
      const store = createDirectoryStore(directory);
      expect(await store.save(ringNamed("new"), 1)).toBeUndefined();
      const twoMinutesAgo = Date.now() / 1000 - 120;
      utimesSync(claim, twoMinutesAgo, twoMinutesAgo);
      expect(await store.save(ringNamed("new"), 1)).toBeUndefined();
      expect(await store.save(ringNamed("new"), 1)).toBe(2);
    });

    test("a ring that is there already is not overwritten", async () => {
      using folder = temporaryFolder();
      const { directory } = await storedRing(folder);
      const snapshot = snapshotOf(directory);
      withoutLinks();
      expect(await createDirectoryStore(directory).save(ringNamed("new"), 0)).toBeUndefined();
      expect(snapshotOf(directory)).toEqual(snapshot);
    });
  },
);

test("a directory that cannot be read is named, with the reason", async () => {
  using folder = temporaryFolder();
  const { directory, file } = await storedRing(folder);
  const store = createDirectoryStore(directory);
  disk.before = (step) => {
    if (step === "readdir keys") throw errno("EACCES", step);
  };
  expect(await refusalOf(store.load())).toBe(
    `${directory}: the key directory cannot be read: EACCES: made up, readdir keys`,
  );
  disk.before = (step) => {
    if (step === "stat keys") throw errno("EIO", step);
  };
  expect(await refusalOf(store.load())).toBe(
    `${directory}: the key directory cannot be read: EIO: made up, stat keys`,
  );
  disk.before = (step) => {
    if (step === "open ring.1.json") throw errno("EIO", step);
  };
  expect(await refusalOf(store.load())).toBe(
    `${file}: this key file cannot be read: EIO: made up, open ring.1.json`,
  );
});

test("a ring that changes each time before it can be read is not read for ever", async () => {
  using folder = temporaryFolder();
  const { directory } = await storedRing(folder);
  disk.before = (step) => {
    const [, version] = /^open ring\.(\d+)\.json$/.exec(step) ?? [];
    if (version === undefined) return;
    renameSync(join(directory, `ring.${version}.json`), join(directory, `ring.${Number(version) + 1}.json`));
  };
  expect(await refusalOf(createDirectoryStore(directory).load())).toBe(
    `${directory}: the key ring changes faster than it can be read; find out what writes to it`,
  );
});
