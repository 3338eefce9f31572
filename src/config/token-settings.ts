import type { SigningAlgorithm } from "../issuer/algorithms.ts";
import type { TokenSettings } from "../policy/policy.ts";
import { mapTemplate, type ValueTemplate } from "../policy/template.ts";
import type { KeyPath } from "./document.ts";
import { formatKey } from "./problems.ts";
import { compileTemplate, type TemplateLookup } from "./templates.ts";
import { TOKEN_DEFAULTS, type TokenSection } from "./token-section.ts";

/** Token settings that policies can still override, claim by claim. */
interface OpenTokenSettings extends Omit<TokenSettings, "additionalClaims"> {
  readonly claims: ReadonlyMap<string, ValueTemplate>;
}

const DEFAULTS: Omit<OpenTokenSettings, "algorithm"> = {
  ...TOKEN_DEFAULTS,
  subject: undefined,
  audience: undefined,
  actor: undefined,
  claims: new Map(),
  origins: {},
};

/** Compiles the settings of tokens: those at the top of a file, and over them a policy's own. */
export function createTokenCompiler(
  section: TokenSection,
  algorithm: SigningAlgorithm,
  templateAt: TemplateLookup,
): {
  readonly defaults: TokenSettings;
  /** @param path of the policy's `token` */
  ofPolicy(own: TokenSection, path: KeyPath): TokenSettings;
} {
  const defaults = merge({ ...DEFAULTS, algorithm }, section, ["token"], templateAt);
  return {
    defaults: closed(defaults),
    ofPolicy: (own, path) => closed(merge(defaults, own, path, templateAt)),
  };
}

function merge(
  inherited: OpenTokenSettings,
  own: TokenSection,
  path: KeyPath,
  templateAt: TemplateLookup,
): OpenTokenSettings {
  const origins: Record<string, string> = { ...inherited.origins };
  const compiled = (key: "subject" | "audience" | "actor", claim: string) => {
    const value = own[key];
    if (value === undefined) return inherited[key];
    if (value === false) return undefined;
    origins[claim] = formatKey([...path, key]);
    return compileTemplate(value, [...path, key], templateAt);
  };
  const claims = new Map(inherited.claims);
  for (const [name, value] of Object.entries(own.additionalClaims ?? {})) {
    const place = [...path, "additionalClaims", name];
    origins[name] = formatKey(place);
    if (value === null) claims.delete(name);
    else claims.set(name, compileTemplate(value, place, templateAt));
  }
  return {
    subject: compiled("subject", "sub"),
    audience: compiled("audience", "aud"),
    actor: compiled("actor", "act"),
    lifetimeSeconds: own.expiresIn ?? inherited.lifetimeSeconds,
    headerName: own.headerName ?? inherited.headerName,
    tokenPrefix: own.tokenPrefix ?? inherited.tokenPrefix,
    claims,
    notBefore: own.notBefore ?? inherited.notBefore,
    tokenId: own.tokenId ?? inherited.tokenId,
    reuse: own.reuse ?? inherited.reuse,
    algorithm: own.algorithm ?? inherited.algorithm,
    origins,
  };
}

function closed({ claims, ...settings }: OpenTokenSettings): TokenSettings {
  return { ...settings, additionalClaims: mapTemplate([...claims]) };
}
