import { normalized } from "./basic-credentials.ts";
import { readPasswordHash } from "./password-hash.ts";

/** A line of an htpasswd file. */
export interface HtpasswdEntry {
  readonly username: string;
  /** A bcrypt hash. */
  readonly passwordHash: string;
  /** Counts from 1. */
  readonly line: number;
}

/** So many problems are told at once. */
const MAX_PROBLEMS = 5;

/**
 * Reads a file of lines `user:hash` as `htpasswd -B` writes it. Lines that are blank or begin with `#` are left out.
 *
 * @param path for messages
 * @throws {Error} with the lines that cannot be used, and never a hash
 */
export function readHtpasswd(text: string, path: string): HtpasswdEntry[] {
  const entries = new Map<string, HtpasswdEntry>();
  const problems: string[] = [];
  for (const [index, content] of text
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/)
    .entries()) {
    if (content.trim() === "" || content.startsWith("#")) continue;
    const line = index + 1;
    const [username = "", ...rest] = content.split(":");
    const passwordHash = rest.join(":").trimEnd();
    const earlier = entries.get(normalized(username));
    const problem =
      lineProblem(username, rest.length, passwordHash) ??
      (earlier && `line ${earlier.line} has this user already; keep one`);
    if (problem !== undefined) problems.push(`${path}:${line}: ${problem}`);
    else entries.set(normalized(username), { username, passwordHash, line });
  }
  const more = problems.length - MAX_PROBLEMS;
  if (problems.length > 0)
    throw new Error(
      `${problems.slice(0, MAX_PROBLEMS).join("; ")}${more > 0 ? `; and ${more} lines more` : ""}`,
    );
  return [...entries.values()];
}

function lineProblem(username: string, colons: number, passwordHash: string): string | undefined {
  if (colons === 0 || username === "") return "expected a line such as user:hash";
  if (/\p{Cc}/u.test(username)) return "expected a user name without control characters";
  // Of the other kinds that htpasswd makes, each can be tried millions of times a second by whoever gets the file.
  if (!/^\$2[abxy]?\$/.test(passwordHash))
    return "only bcrypt hashes are taken; make it anew with htpasswd -B";
  const reading = readPasswordHash(passwordHash);
  return "expected" in reading ? `${reading.expected}; htpasswd -B makes one` : undefined;
}
