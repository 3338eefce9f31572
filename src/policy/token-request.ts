import type { Claims, JsonValue, TokenRequest } from "../issuer/claims-set.ts";
import { actClaim, actorsBefore } from "./actor.ts";
import type { TokenSettings } from "./policy.ts";
import { evaluate, type TemplateContext, type ValueTemplate } from "./template.ts";

/** The subject of a caller that nobody knows. */
const ANONYMOUS_SUBJECT = "api-gateway";

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
    subject:
      overrides?.subject ?? configuredSubject(settings, context) ?? context.user?.sub ?? ANONYMOUS_SUBJECT,
    // A request has a URL; where none is at hand there is no audience.
    audience: overrides?.audience ?? configuredAudience(settings, context) ?? context.fact("url"),
    lifetimeSeconds,
    additionalClaims: claimsOf(settings, context, overrides?.claims),
    notBefore,
    tokenId,
    reuse,
    algorithm,
    purpose: "token",
  };
}

/** What claims other than the standard ones are made of, by name, where that depends on the request. */
export function claimTemplatesOf({
  actor,
  additionalClaims,
}: TokenSettings): readonly (readonly [string, ValueTemplate])[] {
  const members = additionalClaims.kind === "map" ? additionalClaims.members : [];
  return actor ? [...members, ["act", actor]] : members;
}

/** The subject as the configuration has it; `undefined` where it has none, or nothing is left of it. */
export function configuredSubject(
  { subject: template }: TokenSettings,
  context: TemplateContext,
): string | undefined {
  return textOf(template && evaluate(template, context));
}

/** The audience as the configuration has it; `undefined` where it has none, or nothing is left of it. */
export function configuredAudience(
  { audience: template }: TokenSettings,
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
  return textOf(value);
}

function claimsOf(settings: TokenSettings, context: TemplateContext, overrides: Claims | undefined): Claims {
  const configured = evaluate(settings.additionalClaims, context) as Claims;
  const act = settings.actor && actOf(settings.actor, context);
  const claims = act === undefined ? configured : { ...configured, act };
  if (!overrides) return claims;
  const merged = Object.entries({ ...claims, ...overrides });
  return Object.fromEntries(merged.filter(([, value]) => value !== null));
}

/** Nobody acts for a caller whom nobody knows; and of actors before nothing is believed where there is none now. */
function actOf(template: ValueTemplate, context: TemplateContext): JsonValue | undefined {
  const { user } = context;
  if (!user) return undefined;
  const actor = textOf(evaluate(template, context));
  return actor === undefined ? undefined : actClaim([{ sub: actor }, ...actorsBefore(user.claims).actors]);
}

/** A subject or audience is a text (RFC 7519 §2); a number or a boolean becomes one. */
function textOf(value: JsonValue | undefined): string | undefined {
  if (typeof value === "string") return value === "" ? undefined : value;
  return typeof value === "number" || typeof value === "boolean" ? String(value) : undefined;
}
