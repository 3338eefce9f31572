import type { Config } from "../config/config.ts";
import { cookieValues, queryOf } from "../policy/authenticators/credential-source.ts";
import type { AuthenticatorOptions } from "../policy/authenticators/options.ts";
import { fieldValues } from "../policy/caller-request.ts";

/** Takes what must not be printed out of a text. */
export type Mask = (text: string) => string;

/** Shorter, it is no secret, and to hide it would hide much else. */
const SHORTEST_SECRET = 6;

/**
 * Hides the credentials of a request, wherever they come to light: in a claim that a template takes from their field, in
 * the URL where they are forwarded.
 */
export function credentialMask(
  { authenticators }: Config,
  { rawFields, requestTarget }: { readonly rawFields: readonly string[]; readonly requestTarget: string },
): Mask {
  const all = Object.values(authenticators);
  const secrets = all
    .flatMap((options) => credentialTexts(options, rawFields, requestTarget))
    .filter((text) => text.length >= SHORTEST_SECRET)
    // One may be a part of another.
    .toSorted((a, b) => b.length - a.length);
  const parameters = all.flatMap((options) =>
    "source" in options && options.source.kind === "query" ? options.source.name : [],
  );
  return (text) =>
    secrets.reduce((masked, secret) => masked.replaceAll(secret, "…"), withMaskedQuery(text, parameters));
}

function credentialTexts(
  options: AuthenticatorOptions,
  rawFields: readonly string[],
  requestTarget: string,
): string[] {
  if (options.type === "basic") return withoutScheme(fieldValues(rawFields, "authorization"), "Basic");
  if (!("source" in options)) return [];
  const { source } = options;
  if (source.kind === "header") return withoutScheme(fieldValues(rawFields, source.name), source.scheme);
  return source.kind === "cookie"
    ? cookieValues(rawFields, source.name)
    : queryOf(requestTarget).getAll(source.name);
}

/** With another scheme, or none, the whole value may be secret too; a scheme alone is not. */
function withoutScheme(values: readonly string[], scheme: string | undefined): string[] {
  return values
    .flatMap((value) => [value, value.replace(/^\S+\s+/, "")])
    .filter((text) => text.trim().toLowerCase() !== scheme?.toLowerCase());
}

/** In a URL a credential may be encoded in many ways: its parameter is told by its name. */
function withMaskedQuery(text: string, parameters: readonly string[]): string {
  const start = text.indexOf("?");
  if (parameters.length === 0 || start === -1) return text;
  const pairs = text
    .slice(start + 1)
    .split("&")
    .map((pair) => {
      const isCredential = parameters.some((name) => new URLSearchParams(pair).has(name));
      return isCredential ? `${pair.split("=", 1)[0]}=…` : pair;
    });
  return `${text.slice(0, start)}?${pairs.join("&")}`;
}
