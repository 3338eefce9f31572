import { isDeepStrictEqual } from "node:util";
import type { ProviderMetadata } from "../../issuer/metadata.ts";
import { COPY_REMEDY, type Finding, warn } from "./finding.ts";

/** Compares the metadata that verifiers see with what the sidecar says of itself; whose they are has been looked at. */
export function checkPublicMetadata(
  document: Readonly<Record<string, unknown>>,
  expected: ProviderMetadata,
): Finding[] {
  const others = Object.entries(expected)
    .filter(([member, value]) => member !== "issuer" && !isDeepStrictEqual(document[member], value))
    .map(([member]) => member);
  if (others.length === 0) return [];
  return [
    warn(
      "discovery",
      `the document says something else than the configuration of ${others.join(", ")}`,
      `have the sidecar read its configuration again: countersign reload; on a static host: ${COPY_REMEDY}`,
    ),
  ];
}
