import type { Config } from "../config/config.ts";
import type { Passage } from "../gateway/decision.ts";
import { canonicalFieldName } from "../gateway/field-names.ts";
import type { JsonValue } from "../issuer/claims-set.ts";
import type { TokenSettings } from "../policy/policy.ts";
import { describeTemplate, type TemplateContext, type ValueTemplate } from "../policy/template.ts";
import { claimTemplatesOf, configuredAudience, configuredSubject } from "../policy/token-request.ts";

/** Where a claim comes from. */
export interface ClaimSource {
  readonly source: "configuration" | "module" | "default" | "issuer";
  /** The key of the configuration; of a default the one that could set it. */
  readonly key: string | null;
  /** How the configuration writes the value, where it depends on the request. */
  readonly template: string | null;
  /** What there is to say beside. */
  readonly remark: string | null;
}

/** A claim of a token, and where it comes from. */
export interface ExplainedClaim extends ClaimSource {
  readonly name: string;
  readonly value: JsonValue;
}

/** A claim that is configured, and has no value for this request. */
export interface LeftOutClaim {
  readonly name: string;
  readonly key: string;
  readonly template: string;
}

type MadeToken = NonNullable<Passage["token"]>;

/** Says where each claim of a token comes from. */
export function explainClaims(
  config: Config,
  policy: string,
  settings: TokenSettings,
  token: MadeToken,
): { readonly claims: ExplainedClaim[]; readonly leftOut: LeftOutClaim[] } {
  const payload = token.jwt.split(".")[1] ?? "";
  const values = JSON.parse(Buffer.from(payload, "base64url").toString()) as Record<string, JsonValue>;
  const sourceOf = (name: string) =>
    overrides(name, token) ? MODULE(policy) : configuredSource(name, config, settings, token);
  return {
    claims: Object.entries(values).map(([name, value]) => ({ name, value, ...sourceOf(name) })),
    leftOut: claimTemplatesOf(settings)
      .filter(([name]) => !Object.hasOwn(values, name) && !overrides(name, token))
      .map(([name, template]) => ({
        name,
        key: settings.origins[name] ?? "",
        template: describeTemplate(template),
      })),
  };
}

const MODULE = (policy: string): ClaimSource => ({
  source: "module",
  key: `policies.${policy}.module`,
  template: null,
  remark: null,
});

/** Whether the module of the policy says what the claim is, or that there is none. */
function overrides(name: string, { overrides: { subject, audience, claims } }: MadeToken): boolean {
  if (name === "sub") return subject !== undefined;
  if (name === "aud") return audience !== undefined;
  return claims !== undefined && Object.hasOwn(claims, name);
}

function configuredSource(
  name: string,
  config: Config,
  settings: TokenSettings,
  { context, request }: MadeToken,
): ClaimSource {
  const { origins } = settings;
  if (name === "sub" && configuredSubject(settings, asItWas(context, settings)) === undefined)
    return fallback(
      origins.sub,
      settings.subject,
      "token.subject",
      context.user ? "the sub of the user" : "nobody is known",
    );
  if (name === "aud" && configuredAudience(settings, asItWas(context, settings)) === undefined)
    return fallback(origins.aud, settings.audience, "token.audience", "the URL of the request");
  const key = origins[name];
  if (key !== undefined && !SET_BY_ISSUER.has(name)) {
    const template = templateOf(name, settings);
    return {
      source: "configuration",
      key,
      template: template && template.kind !== "literal" ? describeTemplate(template) : null,
      remark: null,
    };
  }
  return issuerSource(name, config, request.lifetimeSeconds);
}

/** The token was put into its field after the templates were looked up; before, nothing was in there. */
function asItWas(context: TemplateContext, { headerName }: TokenSettings): TemplateContext {
  const tokenField = canonicalFieldName(headerName);
  return {
    user: context.user,
    fact: (fact) => context.fact(fact),
    param: (name) => context.param(name),
    header: (name) => (canonicalFieldName(name) === tokenField ? undefined : context.header(name)),
    query: (name) => context.query(name),
  };
}

function fallback(
  configuredKey: string | undefined,
  template: ValueTemplate | undefined,
  key: string,
  remark: string,
): ClaimSource {
  const isConfigured = configuredKey !== undefined && template !== undefined;
  return {
    source: "default",
    key: isConfigured ? configuredKey : key,
    template: isConfigured ? describeTemplate(template) : null,
    remark,
  };
}

const SET_BY_ISSUER: ReadonlySet<string> = new Set(["iat", "exp", "nbf", "jti"]);

function templateOf(name: string, settings: TokenSettings): ValueTemplate | undefined {
  if (name === "sub") return settings.subject;
  if (name === "aud") return settings.audience;
  return claimTemplatesOf(settings).find(([claim]) => claim === name)?.[1];
}

function issuerSource(name: string, { issuer }: Config, lifetimeSeconds: number): ClaimSource {
  const remarks: Readonly<Record<string, string>> = {
    iss: issuer.url === undefined ? "the address of the listener, with issuer.basePath" : "",
    iat: "the time of signing",
    exp: `${lifetimeSeconds} s later`,
    nbf: "the time of signing",
    jti: "a new one for each token",
  };
  const keys: Readonly<Record<string, string>> = {
    iss: "issuer.url",
    exp: "token.expiresIn",
    nbf: "token.notBefore",
    jti: "token.tokenId",
  };
  return { source: "issuer", key: keys[name] ?? null, template: null, remark: remarks[name] || null };
}
