import {
  goneAt,
  isSameLine,
  type KeyNeed,
  type KeyPurpose,
  type KeyState,
  lineOf,
  nextTransitionOf,
  type Ring,
  type RingKey,
  type Rotation,
  rotationDueAt,
  stateOf,
} from "../issuer/keys/ring.ts";
import type { SigningKey } from "../issuer/keys/signing-key.ts";

/** One key as `keys list` shows it. Times are ISO 8601; `null` where a time is not known, or kept by somebody else. */
export interface KeyRow {
  readonly kid: string;
  /** Of a key on a token. */
  readonly label?: string;
  readonly algorithm: string;
  readonly purpose: KeyPurpose | null;
  readonly state: KeyState | "published";
  readonly createdAt: string | null;
  readonly activatesAt: string | null;
  readonly retiresAt: string | null;
  readonly goneAt: string | null;
  /** For a person: how old it is, and what comes next. */
  readonly age: string;
  readonly next: string;
}

/** The keys of a ring, those that sign first. */
export function describeRing(
  ring: Ring,
  needs: readonly KeyNeed[],
  rotation: Rotation,
  now: number,
): KeyRow[] {
  const order: readonly KeyState[] = ["active", "pending", "retiring", "gone"];
  return ring.keys
    .map((entry) => rowOf(ring, entry, needs, rotation, now))
    .toSorted((a, b) => order.indexOf(a.state as KeyState) - order.indexOf(b.state as KeyState));
}

function rowOf(
  ring: Ring,
  entry: RingKey,
  needs: readonly KeyNeed[],
  rotation: Rotation,
  now: number,
): KeyRow {
  const { key, purpose, createdAt, activatesAt, retiresAt } = entry;
  return {
    kid: key.kid,
    algorithm: key.algorithm,
    purpose,
    state: stateOf(ring, entry, now),
    createdAt: timeOf(createdAt),
    activatesAt: timeOf(activatesAt),
    retiresAt: timeOf(retiresAt),
    goneAt: timeOf(goneAt(entry)),
    age: formatPeriod(Math.max(0, now - createdAt) / 1000),
    next: nextOf(ring, entry, needs, rotation, now),
  };
}

function nextOf(
  ring: Ring,
  entry: RingKey,
  needs: readonly KeyNeed[],
  rotation: Rotation,
  now: number,
): string {
  const state = stateOf(ring, entry, now);
  const inPeriod = (time: number) => `in ${formatPeriod(Math.max(0, time - now) / 1000)}`;
  const transition = nextTransitionOf(entry, now);
  if (state === "gone") return "is removed by the sidecar";
  if (transition !== undefined)
    return `${{ pending: "signs", active: "retires", retiring: "gone" }[state]} ${inPeriod(transition)}`;
  if (state === "pending") return "signs when a sidecar has published it for long enough";
  if (!needs.some((need) => isSameLine(need, lineOf(entry)))) return "not used by the configuration";
  const dueAt = rotationDueAt(entry, rotation);
  return dueAt === undefined ? "rotated by hand" : `its successor is made ${inPeriod(dueAt)}`;
}

/** Keys that are kept elsewhere, in their order: the first of each algorithm that is needed signs. */
export function describeExternalKeys(keys: readonly SigningKey[], needs: readonly KeyNeed[]): KeyRow[] {
  return keys.map((key, index) => {
    const isFirst = keys.findIndex(({ algorithm }) => algorithm === key.algorithm) === index;
    const signs = isFirst && needs.some(({ algorithm }) => algorithm === key.algorithm);
    return {
      kid: key.kid,
      ...(key.kind === "remote" && { label: key.label }),
      algorithm: key.algorithm,
      purpose: null,
      state: signs ? "active" : "published",
      createdAt: null,
      activatesAt: null,
      retiresAt: null,
      goneAt: null,
      age: "",
      next: key.kind === "remote" ? "rotated by hand" : "rotated by whoever keeps it",
    };
  });
}

const COLUMNS = ["kid", "label", "algorithm", "purpose", "state", "age", "next"] as const;

/** The rows under their headings, in columns. */
export function tableOf(rows: readonly KeyRow[]): string {
  if (rows.length === 0)
    return "there are no keys yet; the first start makes them, or: countersign keys generate";
  const columns = COLUMNS.filter(
    (column) => column !== "label" || rows.some(({ label }) => label !== undefined),
  );
  const lines = [columns.map(String), ...rows.map((row) => columns.map((column) => row[column] ?? ""))];
  const widths = columns.map((_, index) => Math.max(...lines.map((line) => line[index]?.length ?? 0)));
  return lines
    .map((line) =>
      line
        .map((cell, index) => cell.padEnd(widths[index] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

const UNITS = [
  ["days", 86_400],
  ["hours", 3600],
  ["minutes", 60],
] as const;

/** A period as a person says it, in the largest unit of which there are at least two: "26 hours". */
export function formatPeriod(seconds: number): string {
  const [name, length] = UNITS.find(([, unit]) => seconds >= 2 * unit) ?? ["seconds", 1];
  const count = Math.round(seconds / length);
  return count === 1 ? "1 second" : `${count} ${name}`;
}

function timeOf(milliseconds: number | undefined): string | null {
  return milliseconds === undefined ? null : new Date(milliseconds).toISOString();
}
