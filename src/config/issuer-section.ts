import { z } from "zod";
import { SIGNING_ALGORITHMS } from "../issuer/algorithms.ts";
import { CLOCK_ALLOWANCE_SECONDS, pendingSecondsOf, type Rotation } from "../issuer/keys/ring.ts";
import { baseUrl } from "./addresses.ts";
import { basePath } from "./http-values.ts";
import { EVEN_WITH_PROBLEMS_INSIDE, expectedCollection, section } from "./section.ts";
import { duration, nonEmptyString, variableName, word } from "./values.ts";

/** An algorithm to sign with. */
export const algorithm = word(SIGNING_ALGORITHMS, (value) =>
  /^HS\d+$/i.test(value)
    ? "an HS algorithm signs with a shared secret, which a JWK Set cannot publish"
    : value === "none"
      ? "a token without a signature proves nothing"
      : undefined,
);

const keys = section(
  {
    directory: nonEmptyString
      .describe("A directory of keys that Countersign makes, rotates and removes. Default: ./keys.")
      .optional(),
    rotateEvery: z
      .union([z.literal("never"), duration], { error: 'expected a duration such as "30d", or "never"' })
      .describe("For how long a key of the directory signs. Default: 30d.")
      .optional(),
    overlap: duration
      .describe(
        "For how long a new key of the directory is published before it signs. Default: jwksMaxAge or 24h, whichever is longer, and 4h for clocks that are wrong.",
      )
      .optional(),
    files: z
      .array(nonEmptyString, { error: expectedCollection("a list of files") })
      .min(1, "expected at least one file")
      .describe(
        "Private keys in PEM or as a JWK. The first of an algorithm signs, all are published, changes are noticed.",
      )
      .optional(),
    env: variableName.describe("An environment variable that holds one private key, PEM or JWK.").optional(),
    ephemeral: z.literal(true, { error: "expected true" }).describe("Keys in memory only.").optional(),
    passphrase: nonEmptyString
      .describe("Opens encrypted PEM, and encrypts the keys of the directory: $env(NAME).")
      .optional(),
  },
  ["redis", "pkcs11"],
).superRefine((value, context) => {
  const sources = (["directory", "files", "env", "ephemeral"] as const).filter(
    (source) => value?.[source] !== undefined,
  );
  if (sources.length > 1)
    context.addIssue({
      code: "custom",
      message: "expected only one of the keys directory, files, env and ephemeral",
    });
  const [source = "directory"] = sources;
  const refuse = (key: string, message: string) => context.addIssue({ code: "custom", path: [key], message });
  for (const key of ["rotateEvery", "overlap"] as const)
    if (value?.[key] !== undefined && source !== "directory")
      refuse(key, `only for a directory: keys from ${source} are not rotated here`);
  if (value?.passphrase !== undefined && source === "ephemeral")
    refuse("passphrase", "not for ephemeral keys: they are stored nowhere");
}, EVEN_WITH_PROBLEMS_INSIDE);

/** What `issuer.keys` says. */
export type KeysSection = z.output<typeof keys>;

const issuerShape = {
  algorithm: algorithm.default("EdDSA").describe("The algorithm that tokens are signed with."),
  expiresIn: duration.default(3600).describe("The lifetime of tokens that no policy shapes."),
  jwksMaxAge: duration.default(300).describe("How long verifiers may keep the JWK Set."),
  keys: keys.prefault({}).describe("Where the signing keys come from."),
};

/** Explains which times cannot go together, and why. */
function checkRotation(
  { keys, jwksMaxAge }: { readonly keys: KeysSection; readonly jwksMaxAge: number },
  context: z.core.$RefinementCtx,
): void {
  const refuse = (key: string, message: string) =>
    context.issues.push({ code: "custom", path: ["keys", key], message, input: undefined });
  // That other keys are not rotated here is said already.
  if (keys.files !== undefined || keys.env !== undefined || keys.ephemeral !== undefined) return;
  const rotation = rotationOf(keys, jwksMaxAge);
  if (rotation.overlapSeconds < jwksMaxAge)
    return void refuse(
      "overlap",
      `expected at least jwksMaxAge (${jwksMaxAge} s): for that long a verifier may hold a JWK Set without the new key, and would refuse its tokens`,
    );
  const pendingSeconds = pendingSecondsOf(rotation);
  if (rotation.everySeconds !== undefined && rotation.everySeconds < pendingSeconds)
    refuse(
      "rotateEvery",
      `expected at least ${pendingSeconds} s, which is overlap and a minute: a key cannot be replaced before its successor has been published for that long`,
    );
}

/** `issuer` in the file. */
export const issuerSection = section({
  url: baseUrl.describe("The iss of every token. Default: the listener's own URL and basePath.").optional(),
  basePath: basePath
    .default("/__issuer")
    .describe("The path of the issuer's endpoints: answered here, never forwarded."),
  ...issuerShape,
}).superRefine(checkRotation);

const DAY_SECONDS = 86_400;

/** How the keys of a directory follow one another. */
export function rotationOf(
  { rotateEvery = 30 * DAY_SECONDS, overlap }: KeysSection,
  jwksMaxAge: number,
): Rotation {
  return {
    everySeconds: rotateEvery === "never" ? undefined : rotateEvery,
    // Twice: the sidecar's clock may be wrong, and so may that by which a verifier keeps its JWK Set.
    overlapSeconds: overlap ?? Math.max(jwksMaxAge, DAY_SECONDS) + 2 * CLOCK_ALLOWANCE_SECONDS,
  };
}

/** `identity` in the file. */
export const identitySection = section(
  {
    subject: nonEmptyString
      .describe("The sub claim. Default: account, project and deployment, with slashes between.")
      .optional(),
    account: nonEmptyString.describe("The account claim.").optional(),
    project: nonEmptyString.describe("The project claim.").optional(),
    deployment: nonEmptyString.describe("The deployment claim.").optional(),
    environment_type: nonEmptyString
      .describe("The environment_type claim, such as production, preview or development.")
      .optional(),
    algorithm: algorithm.default("RS256").describe("The algorithm that ID tokens are signed with."),
    expiresIn: duration.default(36_000).describe("The lifetime of ID tokens."),
    audiences: z
      .array(nonEmptyString, { error: expectedCollection("a list of audiences") })
      .default([])
      .describe("The audiences that ID tokens may be for. Default: any."),
  },
  ["files"],
).superRefine((value, context) => {
  const { subject, account, project, deployment } = value;
  // One that is empty is a mistake of its own, and said already.
  if ([subject, account, project, deployment].every((part) => part === undefined))
    context.addIssue({
      code: "custom",
      message:
        "expected at least one of the keys subject, account, project and deployment: whose token is it?",
    });
});

/** What an issuer is made from without a sidecar around it. */
export const issuerOptionsSection = section({
  url: baseUrl,
  algorithms: z.array(algorithm, { error: expectedCollection("a list of algorithms") }).default([]),
  ...issuerShape,
  identity: identitySection.optional(),
}).superRefine(checkRotation);
