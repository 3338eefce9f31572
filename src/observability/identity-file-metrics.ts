import type { IdentityFileStatus, IdentityFileWrites } from "../issuer/identity-files/identity-files.ts";
import { counter, gauge, type Metric } from "./metric.ts";

/** The files that hold ID tokens, at one moment. */
export interface IdentityFileFacts {
  readonly files: readonly IdentityFileStatus[];
  readonly writes: readonly IdentityFileWrites[];
}

/** What is to be known of the files that hold ID tokens. */
export function identityFileMetrics({ files, writes }: IdentityFileFacts): readonly Metric[] {
  return [
    gauge(
      "countersign_identity_file_expiry_timestamp_seconds",
      "When the token in a file of identity.files ends; 0 while the file holds none that is good.",
      files.map(({ path, expiresAt = 0 }) => ({ labels: { path }, value: expiresAt / 1000 })),
      // The worst that one of several processes has seen.
      "min",
    ),
    counter(
      "countersign_identity_file_writes_total",
      "How often a file of identity.files was to be written, and what came of it.",
      writes.flatMap(({ path, success, failure }) => [
        { labels: { path, outcome: "success" }, value: success },
        { labels: { path, outcome: "failure" }, value: failure },
      ]),
    ),
  ];
}
