import { z } from "zod";
import { AUTHENTICATOR_TYPES } from "../../policy/authenticators/authenticator.ts";
import type { AuthenticatorOptions } from "../../policy/authenticators/options.ts";
import { nearest } from "../problems.ts";
import { expectedCollection } from "../section.ts";
import { apiKeyOptionsOf, apiKeySection } from "./api-key.ts";
import { basicOptionsOf, basicSection } from "./basic.ts";
import { clientCertificateOptionsOf, clientCertificateSection } from "./client-certificate.ts";
import { jwtOptionsOf, jwtSection } from "./jwt.ts";
import { trustedHeaderOptionsOf, trustedHeaderSection } from "./trusted-header.ts";

const authenticator = z.discriminatedUnion(
  "type",
  [apiKeySection, jwtSection, basicSection, clientCertificateSection, trustedHeaderSection],
  { error: ({ input }) => typeMessage(input) },
);

/** What one entry of `authenticators` says. */
export type AuthenticatorSection = z.output<typeof authenticator>;

/** The name that stands for a caller who shows no credential. */
export const ANONYMOUS = "anonymous";

/** `authenticators` in the file. */
export const authenticatorsSection = z
  .record(z.string(), authenticator, { error: expectedCollection("a map of authenticators by name") })
  .superRefine((byName, context) => {
    for (const name of Object.keys(byName)) {
      const message = nameMessage(name);
      if (message) context.addIssue({ code: "custom", path: [name], message });
    }
  });

function typeMessage(input: unknown): string {
  const known = `expected one of ${AUTHENTICATOR_TYPES.join(", ")}`;
  if (typeof input !== "object" || input === null || Array.isArray(input))
    return "expected a map with the key type and what belongs to it";
  const { type } = input as { readonly type?: unknown };
  if (type === undefined) return `the key type is missing; ${known}`;
  const meant = typeof type === "string" ? nearest(type, AUTHENTICATOR_TYPES) : undefined;
  return meant ? `${known}; did you mean ${meant}?` : known;
}

function nameMessage(name: string): string | undefined {
  if (name === ANONYMOUS) return "this name stands for a caller without a credential; choose another";
  return /^[A-Za-z][A-Za-z0-9_-]{0,63}$/.test(name)
    ? undefined
    : "expected a name of at most 64 letters, digits, hyphens and underscores";
}

/** What an entry says. */
export function authenticatorOptionsOf(
  section: AuthenticatorSection,
  baseDirectory: string,
): AuthenticatorOptions {
  switch (section.type) {
    case "apiKey":
      return apiKeyOptionsOf(section, baseDirectory);
    case "jwt":
      return jwtOptionsOf(section, baseDirectory);
    case "basic":
      return basicOptionsOf(section, baseDirectory);
    case "clientCertificate":
      return clientCertificateOptionsOf(section);
    case "trustedHeader":
      return trustedHeaderOptionsOf(section);
  }
}
