import { z } from "zod";
import type { Requirement } from "../policy/require.ts";
import { expectedCollection, section } from "./section.ts";
import { nonEmptyString } from "./values.ts";

const scope = nonEmptyString.regex(
  /^[\x21\x23-\x5b\x5d-\x7e]+$/,
  "expected one scope, without a space; several are a list",
);
const VALUES_EXPECTED = "expected a text, a number, true or false, or a list of them";
const claimValue = z
  .union([z.string(), z.number(), z.boolean()], { error: VALUES_EXPECTED })
  .meta({ title: "value" });

const shape = {
  scopes: z
    .array(scope, { error: expectedCollection("a list of scopes") })
    .min(1, "expected at least one scope")
    .describe(
      "Scopes that the user must have, all of them; else 403. They are looked for in `scope` and `scp`.",
    )
    .optional(),
  claims: z
    .record(
      z.string(),
      z.union([claimValue, z.array(claimValue).min(1, "expected at least one value")], {
        error: VALUES_EXPECTED,
      }),
      { error: expectedCollection("a map of claims") },
    )
    .meta({ title: "map of claims" })
    .describe(
      "Claims, each with the value that it must have, or a list of which it must have one; a claim that is a list must hold one of them.",
    )
    .optional(),
  subjects: z
    .array(nonEmptyString, { error: expectedCollection("a list of subjects") })
    .min(1, "expected at least one subject")
    .describe("Subjects of which the user must be one.")
    .optional(),
};

const alternative = section(shape).refine(saysSomething, { error: expectedSomething(Object.keys(shape)) });

const fullShape = {
  ...shape,
  anyOf: z
    .array(alternative, { error: expectedCollection("a list of alternatives") })
    .min(1, "expected at least one alternative")
    .describe("Alternatives of which one must hold: maps with the three keys above.")
    .optional(),
};

/** `require` of a policy. */
export const requireSection = section(fullShape).refine(saysSomething, {
  error: expectedSomething(Object.keys(fullShape)),
});

function saysSomething(value: object): boolean {
  return Object.keys(value).length > 0;
}

function expectedSomething(keys: readonly string[]): string {
  return `expected at least one of the keys ${keys.join(", ")}: what is required?`;
}

/** What the section says. */
export function requirementOf({
  scopes = [],
  claims = {},
  subjects,
  anyOf = [],
}: z.output<typeof requireSection>): Requirement {
  return {
    scopes,
    claims: Object.entries(claims).map(([name, value]) => ({
      name,
      values: Array.isArray(value) ? value : [value],
    })),
    subjects,
    anyOf: anyOf.map(requirementOf),
  };
}
