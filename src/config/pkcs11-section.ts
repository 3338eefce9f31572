import { resolve } from "node:path";
import { z } from "zod";
import type { KeySource } from "../issuer/keys/key-source.ts";
import { EVEN_WITH_PROBLEMS_INSIDE, expectedCollection, section } from "./section.ts";
import { filePath, nonEmptyString, secret, wholeNumber } from "./values.ts";

/** `issuer.keys.pkcs11` in the file. */
export const pkcs11Section = section({
  library: filePath.describe(
    "The PKCS#11 library of the token or HSM, such as `/usr/lib/softhsm/libsofthsm2.so`.",
  ),
  token: nonEmptyString
    .meta({ title: "label" })
    .describe("The label of the token. Either this or `slot`.")
    .optional(),
  slot: wholeNumber(0, Number.MAX_SAFE_INTEGER)
    .describe("The number of the slot that the token is in.")
    .optional(),
  pin: secret(nonEmptyString)
    .describe("The PIN of the token's user; write it as `$env(NAME)`. Either this or `pinFile`.")
    .optional(),
  pinFile: filePath.describe("A file with the PIN, which nobody else may read but its group.").optional(),
  keys: z
    .array(nonEmptyString.meta({ title: "label" }), { error: expectedCollection("a list of labels") })
    .min(1, "expected at least one label")
    .describe(
      "The labels of the private keys, in the order of their use. What is changed here takes effect without a restart.",
    ),
}).superRefine((value, context) => {
  const refuse = (key: string, message: string) => context.addIssue({ code: "custom", path: [key], message });
  for (const [one, other] of [
    ["token", "slot"],
    ["pin", "pinFile"],
  ] as const) {
    if (value?.[one] !== undefined && value[other] !== undefined)
      refuse(other, `expected only one of the keys ${one} and ${other}`);
    if (value?.[one] === undefined && value?.[other] === undefined)
      context.addIssue({ code: "custom", message: `expected one of the keys ${one} and ${other}` });
  }
  if (!Array.isArray(value?.keys)) return;
  const twice = value.keys.findIndex((label, index) => value.keys.indexOf(label) !== index);
  if (twice !== -1)
    context.addIssue({ code: "custom", path: ["keys", twice], message: "this label is listed already" });
}, EVEN_WITH_PROBLEMS_INSIDE);

/**
 * Which keys of which token.
 *
 * @param baseDirectory what relative paths start from
 */
export function pkcs11SourceOf(
  { library, token, slot = 0, pin, pinFile = "", keys }: z.output<typeof pkcs11Section>,
  jwksMaxAgeSeconds: number,
  baseDirectory: string,
): Extract<KeySource, { kind: "pkcs11" }> {
  return {
    kind: "pkcs11",
    library: resolve(baseDirectory, library),
    place: token === undefined ? { kind: "slot", slot } : { kind: "label", label: token },
    pin:
      pin === undefined
        ? { kind: "file", file: resolve(baseDirectory, pinFile) }
        : { kind: "text", text: pin },
    listed: { labels: keys, jwksMaxAgeSeconds },
  };
}
