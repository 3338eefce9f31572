import { z } from "zod";
import { formatDuration } from "../duration.ts";
import { CLOCK_ALLOWANCE_SECONDS, pendingSecondsOf, type Rotation } from "../issuer/keys/ring.ts";
import { baseUrl } from "./addresses.ts";
import { algorithm } from "./algorithm.ts";
import { basePath } from "./http-values.ts";
import { issuerIdentitySection } from "./identity-section.ts";
import { pkcs11Section } from "./pkcs11-section.ts";
import { redisSection } from "./redis-section.ts";
import { EVEN_WITH_PROBLEMS_INSIDE, expectedCollection, section } from "./section.ts";
import { duration, filePath, nonEmptyString, secret, variableName } from "./values.ts";

const DAY_SECONDS = 86_400;

/** Where keys are that no key of the section places. */
export const DEFAULT_DIRECTORY = "./keys";
const DEFAULT_ROTATION_SECONDS = 30 * DAY_SECONDS;
const LEAST_OVERLAP_SECONDS = DAY_SECONDS;
/** The sidecar's clock may be wrong, and so may that by which a verifier keeps its JWK Set. */
const BOTH_CLOCKS_SECONDS = 2 * CLOCK_ALLOWANCE_SECONDS;

const keys = section({
  directory: nonEmptyString
    .meta({ title: "folder" })
    .describe(
      `A folder that Countersign manages: keys are made on first start, rotated, and removed when their last token has ended. Default: \`${DEFAULT_DIRECTORY}\`.`,
    )
    .optional(),
  rotateEvery: z
    .union([z.literal("never"), duration], { error: 'expected a duration such as "30d", or "never"' })
    .describe(
      `For how long a key of the directory signs; \`never\` leaves it to \`countersign keys rotate\`. At least \`overlap\` and a minute. Default: \`${formatDuration(DEFAULT_ROTATION_SECONDS)}\`.`,
    )
    .optional(),
  overlap: duration
    .describe(
      `For how long a new key of the directory or of Redis is published before it signs. At least \`jwksMaxAge\`. Default: \`jwksMaxAge\` or ${LEAST_OVERLAP_SECONDS / 3600} h, whichever is longer, and ${BOTH_CLOCKS_SECONDS / 3600} h for clocks that are wrong.`,
    )
    .optional(),
  files: z
    .array(filePath, { error: expectedCollection("a list of files") })
    .min(1, "expected at least one file")
    .describe(
      "Private keys, PEM or JWK, that somebody else manages: the first of an algorithm signs, all are published, changes are noticed.",
    )
    .optional(),
  env: variableName.describe("An environment variable with one private key, PEM or JWK.").optional(),
  ephemeral: z
    .literal(true, { error: "expected true" })
    .describe("Keys in memory, new at every start. For tests.")
    .optional(),
  pkcs11: pkcs11Section
    .describe(
      "Private keys that never leave a PKCS#11 token or HSM: the first of an algorithm signs, all are published.",
    )
    .optional(),
  passphrase: secret(nonEmptyString)
    .describe("Opens encrypted PEM, and encrypts the keys of the directory; write it as `$env(NAME)`.")
    .optional(),
  redis: redisSection
    .describe(
      "One ring for many replicas, in Redis or Valkey: keys are made by the first that starts, rotated by whichever comes first, and published by all before one signs.",
    )
    .optional(),
}).superRefine((value, context) => {
  const sources = (["directory", "redis", "files", "env", "pkcs11", "ephemeral"] as const).filter(
    (source) => value?.[source] !== undefined,
  );
  if (sources.length > 1)
    context.addIssue({
      code: "custom",
      message: "expected only one of the keys directory, redis, files, env, pkcs11 and ephemeral",
    });
  const [source = "directory"] = sources;
  const refuse = (key: string, message: string) => context.addIssue({ code: "custom", path: [key], message });
  for (const key of ["rotateEvery", "overlap"] as const)
    if (value?.[key] !== undefined && source !== "directory" && source !== "redis")
      refuse(key, `only for a directory and redis: keys from ${source} are not rotated here`);
  if (value?.passphrase !== undefined && source === "ephemeral")
    refuse("passphrase", "not for ephemeral keys: they are stored nowhere");
  if (value?.passphrase !== undefined && source === "redis")
    refuse("passphrase", "not for redis: its encryptionKey encrypts the ring");
  if (value?.passphrase !== undefined && source === "pkcs11")
    refuse("passphrase", "not for keys on a token: pkcs11 has pin and pinFile");
}, EVEN_WITH_PROBLEMS_INSIDE);

/** What `issuer.keys` says. */
export type KeysSection = z.output<typeof keys>;

const issuerShape = {
  algorithm: algorithm
    .default("EdDSA")
    .describe("What tokens are signed with. Each algorithm that a policy names has keys of its own."),
  expiresIn: duration
    .prefault("1h")
    .describe(
      "The lifetime of tokens that no policy shapes: those of `countersign mint` without `--policy`, and of `signJwt`. What else `mint` puts there is what `token` says, and `aud` is there only where `token` has it.",
    ),
  jwksMaxAge: duration.prefault("5m").describe("How long verifiers may keep the JWK Set."),
  keys: keys
    .prefault({})
    .describe(
      "Where the signing keys come from: one of `directory`, `redis`, `files`, `env`, `pkcs11` and `ephemeral`, and what belongs to it.",
    ),
};

/** Explains which times cannot go together, and why. */
function checkRotation(
  { keys, jwksMaxAge }: { readonly keys: KeysSection; readonly jwksMaxAge: number },
  context: z.core.$RefinementCtx,
): void {
  const refuse = (key: string, message: string) =>
    context.issues.push({ code: "custom", path: ["keys", key], message, input: undefined });
  // That other keys are not rotated here is said already.
  if ((["files", "env", "pkcs11", "ephemeral"] as const).some((source) => keys[source] !== undefined)) return;
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
      `expected at least ${pendingSeconds} s, which is overlap and a minute${rotation.fleet ? " and twice clockSkew" : ""}: a key cannot be replaced before its successor has been published for that long`,
    );
}

/** `issuer` in the file. */
export const issuerSection = section({
  url: baseUrl
    .describe(
      "The `iss` of every token, and the base of the discovery URLs: a URL that the backend can reach. It ends with `basePath`, unless a proxy in front rewrites the path, or it is that of a static copy. Default: `http(s)://<listen><basePath>`, of the first address of `listen`.",
    )
    .optional(),
  basePath: basePath
    .prefault("/__issuer")
    .describe(
      "Where the issuer's endpoints stand. All below it is answered by the sidecar and never forwarded.",
    ),
  ...issuerShape,
}).superRefine(checkRotation);

/** How the keys that are managed here follow one another. */
export function rotationOf(
  { rotateEvery = DEFAULT_ROTATION_SECONDS, overlap, redis }: KeysSection,
  jwksMaxAge: number,
): Rotation {
  return {
    everySeconds: rotateEvery === "never" ? undefined : rotateEvery,
    overlapSeconds: overlap ?? Math.max(jwksMaxAge, LEAST_OVERLAP_SECONDS) + BOTH_CLOCKS_SECONDS,
    fleet: redis && { clockSkewSeconds: redis.clockSkew, jwksMaxAgeSeconds: jwksMaxAge },
  };
}

/** What an issuer is made from without a sidecar around it. */
export const issuerOptionsSection = section({
  url: baseUrl,
  algorithms: z.array(algorithm, { error: expectedCollection("a list of algorithms") }).default([]),
  ...issuerShape,
  identity: issuerIdentitySection.optional(),
}).superRefine(checkRotation);
