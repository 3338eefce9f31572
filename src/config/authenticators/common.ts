import { z } from "zod";
import type { CredentialSource } from "../../policy/authenticators/credential-source.ts";
import { expectedCollection } from "../section.ts";
import { flag, jsonValue, nonEmptyString } from "../values.ts";
import { addressRange, authenticationScheme, cookieName, fieldName } from "./values.ts";

/** What every authenticator has. */
export const commonShape = {
  forwardCredential: flag
    .default(false)
    .describe("Whether the backend sees the credential too, where it is not in the header of the token."),
};

/** Where a credential of one text stands. */
export const sourceShape = {
  header: fieldName
    .describe(
      "The header that holds the credential. Default: `Authorization`, unless `query` or `cookie` is there.",
    )
    .optional(),
  scheme: authenticationScheme
    .describe(
      "What stands before the credential in the header, in any case of its letters. Default: `Bearer` in `Authorization`, else nothing.",
    )
    .optional(),
  query: nonEmptyString
    .describe(
      "The parameter of the query that holds the credential. Queries end up in logs of proxies and in histories: for callers that can do no other.",
    )
    .optional(),
  cookie: cookieName.describe("The cookie that holds the credential.").optional(),
};

interface SourceSection {
  readonly header?: string | undefined;
  readonly scheme?: string | undefined;
  readonly query?: string | undefined;
  readonly cookie?: string | undefined;
}

/** Refuses a section that names more than one place, or a scheme for a place that has none. */
export function checkSource(section: SourceSection, context: z.core.$RefinementCtx): void {
  const places = (["header", "query", "cookie"] as const).filter((place) => section?.[place] !== undefined);
  const refuse = (key: string, message: string) =>
    context.issues.push({ code: "custom", path: [key], message, input: undefined });
  const [, second] = places;
  if (second !== undefined)
    refuse(second, `expected only one of the keys ${places.join(" and ")}: a credential has one place`);
  else if (section?.scheme !== undefined && places.length === 1 && places[0] !== "header")
    refuse("scheme", "only for a header");
}

/** The source that a section names. Default: `Authorization: Bearer`. */
export function sourceOf({ header, scheme, query, cookie }: SourceSection): CredentialSource {
  if (query !== undefined) return { kind: "query", name: query };
  if (cookie !== undefined) return { kind: "cookie", name: cookie };
  if (header === undefined) return { kind: "header", name: "authorization", scheme: scheme ?? "Bearer" };
  return {
    kind: "header",
    name: header,
    scheme: scheme ?? (header === "authorization" ? "Bearer" : undefined),
  };
}

/** Claims that are written out in the file. */
export const plainClaims = z
  .record(z.string(), jsonValue, { error: expectedCollection("a map of claims") })
  .meta({ title: "map of claims" });

/** Ranges of addresses of proxies in front. */
export const addressRanges = z
  .array(addressRange, { error: expectedCollection('a list of address ranges such as "10.0.0.0/8"') })
  .min(1, "expected at least one range");
