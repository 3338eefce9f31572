import { z } from "zod";
import { EVEN_WITH_PROBLEMS_INSIDE, expectedCollection } from "./section.ts";
import { jsonValue } from "./values.ts";

/**
 * Claims by name.
 *
 * @param remedies the claims that it may not hold, and what to do instead
 */
export function claimsMap(remedies: Readonly<Record<string, string>>) {
  return z
    .record(z.string(), jsonValue, { error: expectedCollection("a map of claims") })
    .meta({ title: "map of claims" })
    .superRefine((claims, context) => {
      for (const [claim, remedy] of Object.entries(remedies)) {
        const message = `the claim ${claim} cannot be set here; ${remedy}`;
        if (Object.hasOwn(claims, claim)) context.addIssue({ code: "custom", path: [claim], message });
      }
    }, EVEN_WITH_PROBLEMS_INSIDE);
}
