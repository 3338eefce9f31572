import type { Claims, JsonValue, TokenRequest } from "../issuer/claims-set.ts";
import type { TokenSettings } from "./policy.ts";
import { evaluate, type TemplateContext, type ValueTemplate } from "./template.ts";

/** The subject of a caller that nobody knows. */
export const ANONYMOUS_SUBJECT = "api-gateway";

/** What something else than the configuration says of a token: a module of the policy. */
export interface TokenOverrides {
  readonly subject?: string | undefined;
  readonly audience?: string | readonly string[] | undefined;
  /** Merged over `additionalClaims`; `null` takes one out. */
  readonly claims?: Claims | undefined;
}

/** Says what the token of one request is to claim. */
export function tokenRequestOf(
  settings: TokenSettings,
  context: TemplateContext,
  overrides?: TokenOverrides,
): TokenRequest {
  const { lifetimeSeconds, notBefore, tokenId, reuse, algorithm } = settings;
  return {
    subject: overrides?.subject ?? subjectOf(settings.subject, context),
    audience: overrides?.audience ?? audienceOf(settings.audience, context),
    lifetimeSeconds,
    additionalClaims: claimsOf(settings.additionalClaims, context, overrides?.claims),
    notBefore,
    tokenId,
    reuse,
    algorithm,
    purpose: "token",
  };
}

function subjectOf(template: ValueTemplate | undefined, context: TemplateContext): string {
  const value = template && evaluate(template, context);
  return textOf(value) ?? context.user?.sub ?? ANONYMOUS_SUBJECT;
}

/** Where nothing is left of what is configured, the URL of the request. A request has one; where none is at hand, none. */
function audienceOf(
  template: ValueTemplate | undefined,
  context: TemplateContext,
): string | readonly string[] | undefined {
  const value = template && evaluate(template, context);
  if (Array.isArray(value)) {
    const audiences = value
      .flat()
      .map(textOf)
      .filter((text) => text !== undefined);
    if (audiences.length > 0) return audiences;
  }
  return textOf(value) ?? context.fact("url");
}

function claimsOf(template: ValueTemplate, context: TemplateContext, overrides: Claims | undefined): Claims {
  const claims = evaluate(template, context) as Claims;
  if (!overrides) return claims;
  const merged = Object.entries({ ...claims, ...overrides });
  return Object.fromEntries(merged.filter(([, value]) => value !== null));
}

/** A subject or audience is a text (RFC 7519 §2); a number or a boolean becomes one. */
function textOf(value: JsonValue | undefined): string | undefined {
  if (typeof value === "string") return value === "" ? undefined : value;
  return typeof value === "number" || typeof value === "boolean" ? String(value) : undefined;
}
