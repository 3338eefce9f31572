import { resolve } from "node:path";
import { z } from "zod";
import type { Claims, JsonValue } from "../issuer/claims-set.ts";
import type { IdentityFile } from "../issuer/identity-files/identity-file.ts";
import type { Identity } from "../issuer/issuer.ts";
import { algorithm } from "./algorithm.ts";
import { claimsMap } from "./claims-map.ts";
import { EVEN_WITH_PROBLEMS_INSIDE, expectedCollection, section } from "./section.ts";
import { duration, filePath, nonEmptyString, wholeNumber } from "./values.ts";

const identityShape = {
  subject: nonEmptyString
    .describe("The `sub` claim. Default: account, project and deployment, with slashes between.")
    .optional(),
  account: nonEmptyString.describe("The `account` claim; not there unless set.").optional(),
  project: nonEmptyString.describe("The `project` claim; not there unless set.").optional(),
  deployment: nonEmptyString.describe("The `deployment` claim; not there unless set.").optional(),
  environment_type: nonEmptyString
    .describe(
      "The `environment_type` claim, such as `production`, `preview` or `development`; not there unless set.",
    )
    .optional(),
  algorithm: algorithm
    .default("RS256")
    .describe("What ID tokens are signed with, by keys of their own. Every cloud knows RS256."),
  expiresIn: duration.prefault("10h").describe("The lifetime of ID tokens."),
  audiences: z
    .array(nonEmptyString, { error: expectedCollection("a list of audiences") })
    .default([])
    .describe("The audiences that ID tokens at `/identity/token` may be for; none listed is any."),
};

/** Explains that a token has to be somebody's. */
function checkSubject(
  { subject, account, project, deployment }: Readonly<Record<string, unknown>>,
  context: z.core.$RefinementCtx,
): void {
  // One that is empty is a mistake of its own, and said already.
  if ([subject, account, project, deployment].every((part) => part === undefined))
    context.issues.push({
      code: "custom",
      message:
        "expected at least one of the keys subject, account, project and deployment: whose token is it?",
      input: undefined,
    });
}

/** `identity` of an issuer that has no sidecar around it, and so nobody to keep files. */
export const issuerIdentitySection = section(identityShape).superRefine(checkSubject);

/** One that lives for less is old before a program has read it: a fifth of its life is left when it is replaced. */
const MIN_FILE_LIFETIME_SECONDS = 60;
const TOO_SHORT = `expected at least ${MIN_FILE_LIFETIME_SECONDS} s: the file is written again when 80 % of its life have passed, and its readers need the rest`;

const MAX_GROUP_ID = 0xffff_fffe;

const identityFile = section({
  path: filePath
    .refine((path) => !path.endsWith("/"), "expected a file, and this is written as a folder is")
    .describe(
      "The file that holds the token, and nothing else. Its folder must be there, and the sidecar must be able to write it.",
    ),
  audience: nonEmptyString.describe("The `aud` claim. `audiences` need not list it."),
  expiresIn: duration
    .refine((seconds) => seconds >= MIN_FILE_LIFETIME_SECONDS, TOO_SHORT)
    .describe(
      "The lifetime of the token, at least a minute; it is replaced when 80 % of it have passed. Default: that of `identity`.",
    )
    .optional(),
  claims: claimsMap({
    iss: "it is what the key `url` of issuer says",
    sub: "use the key `subject` of identity",
    aud: "use the key `audience` of the file",
    exp: "use the key `expiresIn` of the file",
    iat: "it is the time of signing",
    nbf: "the token is valid from the time of signing",
    jti: "the token has none",
  })
    .describe(
      "Further claims, over those of `identity` by name; one set to `null` is left out. Default: `{}`.",
    )
    .optional(),
  group: z
    .union([wholeNumber(0, MAX_GROUP_ID), nonEmptyString], {
      error: "expected the name of a group, or its number",
    })
    .describe(
      "The group that may read the file too, by name or number: its mode is 0640 then. Default: nobody else may, with mode 0600.",
    )
    .optional(),
});

/** `identity` in the file. */
export const identitySection = section({
  ...identityShape,
  files: z
    .array(identityFile, { error: expectedCollection("a list of files") })
    .prefault([])
    .describe("Files with an ID token each, kept fresh for programs that read one."),
})
  .superRefine(checkSubject)
  .superRefine(({ expiresIn, files }, context) => {
    if (typeof expiresIn !== "number" || expiresIn >= MIN_FILE_LIFETIME_SECONDS || !Array.isArray(files))
      return;
    files.forEach((file: Partial<z.output<typeof identityFile>> | null, index) => {
      if (typeof file === "object" && file?.expiresIn === undefined)
        context.addIssue({
          code: "custom",
          path: ["files", index],
          message: `needs the key expiresIn: that of identity is too short; ${TOO_SHORT}`,
        });
    });
  }, EVEN_WITH_PROBLEMS_INSIDE);

/** Which deployment this is. */
export function identityOf(section: z.output<typeof issuerIdentitySection>): Identity {
  const { subject, account, project, deployment, environment_type } = section;
  const claims = Object.entries({ account, project, deployment, environment_type });
  return {
    subject: subject ?? [account, project, deployment].filter((part) => part !== undefined).join("/"),
    claims: Object.fromEntries(claims.filter(([, value]) => value !== undefined)) as Claims,
    algorithm: section.algorithm,
    lifetimeSeconds: section.expiresIn,
    audiences: section.audiences,
  };
}

/**
 * The files that hold ID tokens.
 *
 * @param baseDirectory what relative paths start from
 */
export function identityFilesOf(
  section: z.output<typeof identitySection>,
  baseDirectory: string,
): readonly IdentityFile[] {
  const { subject, claims, algorithm, lifetimeSeconds } = identityOf(section);
  return section.files.map((file) => ({
    path: resolve(baseDirectory, file.path),
    group: file.group,
    subject,
    audience: file.audience,
    lifetimeSeconds: file.expiresIn ?? lifetimeSeconds,
    claims: mergedClaims(claims, file.claims ?? {}),
    algorithm,
  }));
}

function mergedClaims(below: Claims, over: Readonly<Record<string, JsonValue>>): Claims {
  const merged = Object.entries({ ...below, ...over });
  return Object.fromEntries(merged.filter(([, value]) => value !== null));
}
