/** What one check found. Texts are for a person, and hold no secret. */
export interface Finding {
  /** What was looked at, such as `discovery`. */
  readonly check: string;
  readonly state: "ok" | "warn" | "fail";
  readonly found: string;
  /** What to do about it. */
  readonly remedy?: string;
}

/** What brings a static host up to date. */
export const COPY_REMEDY =
  "write the copy again (countersign issuer export DIR), and upload it, the JWK Set first";

/** All is as it should be. */
export function ok(check: string, found: string): Finding {
  return { check, state: "ok", found };
}

/** It works, but somebody should look. */
export function warn(check: string, found: string, remedy: string): Finding {
  return { check, state: "warn", found, remedy };
}

/** It does not work. */
export function fail(check: string, found: string, remedy: string): Finding {
  return { check, state: "fail", found, remedy };
}
