import { KeyError } from "../../../src/issuer/keys/key-error.ts";
import { EMPTY_RING, type Ring } from "../../../src/issuer/keys/ring.ts";
import { createMemoryStore, type KeyStore } from "../../../src/issuer/keys/store.ts";

/** What an outage stops. */
export type Outage = "loads" | "saves" | "both";

/** How a process ends in the middle of its work. */
export interface Crash {
  /** In the next operation, or in a save, after so many more. */
  readonly at: "next operation" | { readonly saves: number };
  /** Whether what it was saving has been stored. */
  readonly stores: boolean;
}

/** The disk as one process sees it. */
export interface ProcessDisk {
  readonly store: KeyStore;
  /** Resolves when the process has crashed: what it was waiting for never comes. */
  readonly crashed: Promise<void>;
  isCrashed(): boolean;
  crash(how: Crash): void;
}

/** A disk that fails when it is told to. */
export interface FailingDisk {
  /** What is stored, whatever fails. */
  ring(): Ring;
  /** How often something has been stored. */
  version(): number;
  openFor(process: "sidecar" | "another process"): ProcessDisk;
  /** Fails from now on. */
  fail(outage: Outage, milliseconds: number): void;
  /** Fails from a save on, after `saves` more, and this one may have been stored all the same. */
  failInSave(saves: number, milliseconds: number, stores: boolean): void;
  /** Lets something else happen between two operations, after `operations` more. */
  interruptAfter(operations: number, action: () => Promise<void>): void;
  failsUntil(): number;
  /** Whether the sidecar has read it since it failed last. */
  isRecovered(): boolean;
}

/** @param time true time, in milliseconds since the epoch */
export function createFailingDisk(time: () => number): FailingDisk {
  const memory = createMemoryStore();
  let latest = { ring: EMPTY_RING, version: 0 };
  let outage: { readonly stops: Outage; readonly until: number } = { stops: "both", until: 0 };
  let breaking: { saves: number; readonly milliseconds: number; readonly stores: boolean } | undefined;
  let interruption: { operations: number; readonly action: () => Promise<void> } | undefined;
  let recovered = true;

  function fail(stops: Outage, milliseconds: number): void {
    outage = { stops, until: time() + milliseconds };
    recovered = false;
  }

  function check(stops: Exclude<Outage, "both">): void {
    if (time() < outage.until && outage.stops !== (stops === "loads" ? "saves" : "loads"))
      throw new KeyError("disk", "EIO");
  }

  async function put(ring: Ring, version: number): Promise<number | undefined> {
    const saved = await memory.save(ring, version);
    if (saved !== undefined) latest = { ring, version: saved };
    return saved;
  }

  async function interrupt(): Promise<void> {
    if (!interruption || interruption.operations-- > 0) return;
    const { action } = interruption;
    interruption = undefined;
    await action();
  }

  function openFor(process: "sidecar" | "another process"): ProcessDisk {
    const { promise: crashed, resolve: reportCrash } = Promise.withResolvers<void>();
    let isCrashed = false;
    let planned: Crash | undefined;
    let savesLeft = 0;

    /** Never returns. */
    function die(): Promise<never> {
      isCrashed = true;
      reportCrash();
      return new Promise(() => {});
    }

    const store: KeyStore = {
      name: process,
      async load() {
        if (isCrashed || planned?.at === "next operation") return die();
        await interrupt();
        check("loads");
        if (process === "sidecar" && time() >= outage.until) recovered = true;
        return memory.load();
      },
      async save(ring, version) {
        if (isCrashed) return die();
        await interrupt();
        if (planned && savesLeft-- <= 0) {
          if (planned.stores) await put(ring, version);
          return die();
        }
        check("saves");
        if (!breaking || breaking.saves-- > 0) return put(ring, version);
        const { milliseconds, stores } = breaking;
        breaking = undefined;
        fail("both", milliseconds);
        if (stores) await put(ring, version);
        throw new KeyError("disk", "EIO; it is not known whether the ring was stored");
      },
      watch: () => ({ close() {} }),
    };
    return {
      store,
      crashed,
      isCrashed: () => isCrashed,
      crash(how) {
        planned = how;
        savesLeft = how.at === "next operation" ? 0 : how.at.saves;
      },
    };
  }

  return {
    ring: () => latest.ring,
    version: () => latest.version,
    openFor,
    fail,
    failInSave(saves, milliseconds, stores) {
      breaking = { saves, milliseconds, stores };
    },
    interruptAfter(operations, action) {
      interruption = { operations, action };
    },
    failsUntil: () => outage.until,
    isRecovered: () => recovered,
  };
}
