import type { z } from "zod";
import type { TokenEndpointOptions } from "../gateway/token-endpoint/options.ts";
import type { SigningAlgorithm } from "../issuer/algorithms.ts";
import type { AuthenticatorSection } from "./authenticators/sections.ts";
import { compileTemplate, type TemplateLookup } from "./templates.ts";
import { CLIENT_TYPES, TOKEN_TYPES, type tokenEndpointSection } from "./token-endpoint-section.ts";

/** The options of the token endpoint. */
export function tokenEndpointOptionsOf(
  section: z.output<typeof tokenEndpointSection>,
  authenticators: Readonly<Record<string, AuthenticatorSection>>,
  issuerAlgorithm: SigningAlgorithm,
  templateAt: TemplateLookup,
): TokenEndpointOptions {
  const { url, authenticate, publicClients, audiences, expiresIn, algorithm, additionalClaims } = section;
  const ofTypes = (types: readonly string[]) =>
    authenticate.filter((name) => types.includes(authenticators[name]?.type ?? ""));
  return {
    url,
    clients: ofTypes(CLIENT_TYPES),
    publicClients,
    tokens: ofTypes(TOKEN_TYPES),
    audiences,
    lifetimeSeconds: expiresIn,
    algorithm: algorithm ?? issuerAlgorithm,
    additionalClaims: compileTemplate(additionalClaims, ["tokenEndpoint", "additionalClaims"], templateAt),
  };
}
