import leven from "leven";
import { CountersignError } from "../errors.ts";

/** A place in a file; both numbers count from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** One thing that is wrong, or doubtful, in a configuration. */
export interface Problem {
  /** The file as the user named it. */
  readonly file: string;
  /** Absent where the whole file is meant. */
  readonly position?: Position | undefined;
  /** The key, as in `policies[2].token.expiresIn`; "" for the document itself. */
  readonly key: string;
  /** What is wrong and what is expected, without the file's values. */
  readonly message: string;
}

/** A configuration that cannot be used, with everything that is wrong with it. */
export class ConfigError extends CountersignError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super("ERR_CONFIG", problems.map(formatProblem).join("\n"));
    this.problems = problems;
  }
}

/** The line that a person reads and an editor can jump to: `sidecar.yaml:14:9 key: message`. */
export function formatProblem({ file, position, key, message }: Problem): string {
  const place = position ? `${file}:${position.line}:${position.column}` : `${file}:`;
  return key === "" ? `${place} ${message}` : `${place} ${key}: ${message}`;
}

/** Sorts problems of a file in the order of its lines. */
export function byPlace(a: Problem, b: Problem): number {
  return (
    (a.position?.line ?? 0) - (b.position?.line ?? 0) || (a.position?.column ?? 0) - (b.position?.column ?? 0)
  );
}

/** Writes the way to a value as a person would: `policies[0].match.path`. */
export function formatKey(path: readonly PropertyKey[]): string {
  let key = "";
  for (const step of path) {
    if (typeof step === "number") key += `[${step}]`;
    else if (/^[A-Za-z_][\w-]*$/.test(String(step))) key += key === "" ? String(step) : `.${String(step)}`;
    else key += `[${JSON.stringify(String(step))}]`;
  }
  return key;
}

/**
 * Whether a message may repeat a key that nobody knows. A secret that was not quoted may have slipped into it: what
 * stands behind a comma in a password is a key without a value, and so is `passphrase:secret` without a space.
 */
export function mayBeNamed(key: string, value: unknown): boolean {
  return value !== null && value !== undefined && /^[A-Za-z_][\w-]*$/.test(key);
}

/** The known word that was most likely meant, or `undefined` where none is near. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  // One letter is near to any other.
  if (word.length < 2) return undefined;
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = leven(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}
