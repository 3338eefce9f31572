import type { Issuer } from "../issuer/issuer.ts";
import type { PolicyModuleInput } from "../policy/module.ts";
import type { Policy } from "../policy/policy.ts";
import type { RawFields } from "./fields.ts";
import type { RequestContext } from "./request-facts.ts";

/** What a module is told of a request. All of it is its own copy: nothing that it changes has an effect elsewhere. */
export function moduleInputOf(
  context: RequestContext,
  fields: RawFields,
  { name, match }: Policy,
  signJwt: Issuer["signJwt"],
): Omit<PolicyModuleInput, "signal"> {
  return {
    request: {
      method: context.fact("method"),
      url: context.fact("url"),
      path: context.fact("path"),
      host: context.fact("host"),
      id: context.fact("id"),
      ip: context.fact("ip"),
      headers: headersOf(fields),
      params: paramsOf(context, match.path?.names ?? []),
    },
    user: context.user && structuredClone(context.user),
    policy: { name },
    signJwt,
  };
}

function headersOf(fields: RawFields): Readonly<Record<string, string>> {
  const headers: Record<string, string> = Object.create(null);
  for (let i = 0; i < fields.length; i += 2) {
    const name = (fields[i] as string).toLowerCase();
    const value = fields[i + 1] as string;
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
  }
  return headers;
}

function paramsOf(context: RequestContext, names: readonly string[]): Readonly<Record<string, string>> {
  const params: Record<string, string> = Object.create(null);
  for (const name of names) {
    const value = context.param(name);
    if (value !== undefined) params[name] = value;
  }
  return params;
}
