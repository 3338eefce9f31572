import { createHmac, randomBytes } from "node:crypto";
import { LRUCache } from "lru-cache";

/** Subjects whose hash is remembered, in characters of all together. */
const MAX_CHARACTERS = 512 * 1024;

/** What stands for a subject in the log: the same for the same one. */
export type SubjectMark = (subject: string) => string;

/**
 * A key for {@link createSubjectMark}. It lives as long as the sidecar: nobody can find out later who a hash stands for
 * by trying addresses, not even with the configuration.
 */
export function newSubjectKey(): string {
  return randomBytes(32).toString("hex");
}

/** Creates the hash of subjects: HMAC-SHA-256 (RFC 2104), the first 16 hexadecimal digits. */
export function createSubjectMark(key: string): SubjectMark {
  const marks = new LRUCache<string, string>({
    max: 5000,
    maxSize: MAX_CHARACTERS,
    sizeCalculation: (_mark, subject) => subject.length + 1,
  });
  return (subject) => {
    const known = marks.get(subject);
    if (known !== undefined) return known;
    const mark = createHmac("sha256", key).update(subject).digest("hex").slice(0, 16);
    marks.set(subject, mark);
    return mark;
  };
}
