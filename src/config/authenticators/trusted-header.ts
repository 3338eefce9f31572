import { z } from "zod";
import { canonicalFieldName } from "../../gateway/field-names.ts";
import type { TrustedHeaderOptions } from "../../policy/authenticators/options.ts";
import { expectedCollection, section } from "../section.ts";
import { addressRanges, commonShape } from "./common.ts";
import { fieldName } from "./values.ts";

/** Every other spelling of it is taken out, so it must be the one that all others are taken for. */
const believedField = fieldName.refine(
  (name) => name === canonicalFieldName(name),
  "expected a field name of letters, digits and hyphens: backends take X_User and X-User for the same",
);

/** `type: trustedHeader` */
export const trustedHeaderSection = section({
  type: z.literal("trustedHeader").describe("Callers whom a proxy in front names."),
  header: believedField.describe(
    "The header that says who is calling: the `sub`. From anybody else it is taken out.",
  ),
  from: addressRanges.describe(
    "The proxies that are believed, such as `10.0.0.7`, `10.0.0.0/8` or `2001:db8::/32`.",
  ),
  claims: z
    .record(z.string(), believedField, {
      error: expectedCollection("a map of claims, each with the name of a field"),
    })
    .meta({ title: "map of header names" })
    .prefault({})
    .describe("Further headers, by the claim that each becomes. One that is absent or empty is left out."),
  ...commonShape,
});

/** What the section says. */
export function trustedHeaderOptionsOf(value: z.output<typeof trustedHeaderSection>): TrustedHeaderOptions {
  const { header, from, claims, forwardCredential } = value;
  return { type: "trustedHeader", header, from, claims, forwardCredential };
}
