import { resolve } from "node:path";
import { z } from "zod";
import { normalized } from "../../policy/authenticators/basic-credentials.ts";
import type { BasicOptions } from "../../policy/authenticators/options.ts";
import { readPasswordHash } from "../../policy/authenticators/password-hash.ts";
import { EVEN_WITH_PROBLEMS_INSIDE, expectedCollection, section } from "../section.ts";
import { filePath, flag, nonEmptyString, secret, text } from "../values.ts";
import { commonShape, plainClaims } from "./common.ts";

const passwordHash = text("expected a string that countersign password hash prints", (value) => {
  const reading = readPasswordHash(value);
  return "expected" in reading ? reading : { value };
}).meta({ title: "password hash" });

const user = section({
  username: nonEmptyString
    .refine(
      (value) => !value.includes(":"),
      "expected a name without a colon: it ends where the password begins",
    )
    .refine((value) => !/\p{Cc}/u.test(value), "expected a name without control characters")
    .describe("The name, which is the `sub`; without a colon."),
  passwordHash: secret(passwordHash).describe(
    "What `countersign password hash` prints, or a bcrypt hash (`$2b$`, `$2a$`, `$2y$`).",
  ),
  claims: plainClaims
    .default({})
    .describe("What else is known: `$user(name)` in templates, and `require.claims`."),
  disabled: flag.default(false).describe("Refuses the user, and keeps the entry."),
});

const users = z.array(user, { error: expectedCollection("a list of users") }).superRefine((list, context) => {
  const seen = new Set<unknown>();
  list.forEach((entry: Partial<z.output<typeof user>> | null, index) => {
    const name = typeof entry?.username === "string" ? normalized(entry.username) : undefined;
    if (name !== undefined && seen.has(name))
      context.addIssue({ code: "custom", path: [index, "username"], message: "another user has this name" });
    seen.add(name);
  });
}, EVEN_WITH_PROBLEMS_INSIDE);

/** `type: basic` */
export const basicSection = section({
  type: z.literal("basic").describe("Callers who send a name and a password."),
  users: users.describe("The users that are known.").optional(),
  htpasswd: filePath
    .describe(
      "Further users, without claims, that `htpasswd -B` made (bcrypt). Changes are noticed; a file with a problem is told of, and the users before stay.",
    )
    .optional(),
  ...commonShape,
}).superRefine((value, context) => {
  if (value?.users === undefined && value?.htpasswd === undefined)
    context.addIssue({
      code: "custom",
      message: "expected the keys `users` or `htpasswd`: which users are known?",
    });
}, EVEN_WITH_PROBLEMS_INSIDE);

/** What the section says. */
export function basicOptionsOf(value: z.output<typeof basicSection>, baseDirectory: string): BasicOptions {
  return {
    type: "basic",
    users: value.users ?? [],
    htpasswd: value.htpasswd === undefined ? undefined : resolve(baseDirectory, value.htpasswd),
    forwardCredential: value.forwardCredential,
  };
}
