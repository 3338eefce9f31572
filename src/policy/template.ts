import type { JsonValue } from "../issuer/claims-set.ts";
import { claimOf } from "./claim-path.ts";
import type { User } from "./user.ts";

/** The functions of templates. */
export const TEMPLATE_FUNCTIONS = ["user", "request", "param", "header", "query"] as const;
export type TemplateFunction = (typeof TEMPLATE_FUNCTIONS)[number];

/** What `$request(…)` knows. */
export const REQUEST_FACTS = ["method", "url", "origin", "host", "path", "id", "ip"] as const;
export type RequestFact = (typeof REQUEST_FACTS)[number];

/** `$user(tenant)`: a value that is known when a request comes. */
export interface Reference {
  readonly fn: TemplateFunction;
  /** A claim or the way to it, a fact of the request, or the name of a parameter, a field (in lower case) or a query parameter. */
  readonly argument: string;
}

/** A value of the configuration, compiled: a JSON value with references in it. */
export type ValueTemplate =
  | { readonly kind: "literal"; readonly value: JsonValue }
  /** Exactly one reference: the type of its value stays. */
  | { readonly kind: "reference"; readonly reference: Reference }
  | { readonly kind: "text"; readonly parts: readonly (string | Reference)[] }
  | { readonly kind: "list"; readonly items: readonly ValueTemplate[] }
  | { readonly kind: "map"; readonly members: readonly (readonly [string, ValueTemplate])[] };

/** What references are looked up in. */
export interface TemplateContext {
  /** `undefined`: the caller is anonymous. */
  readonly user: User | undefined;
  fact(fact: RequestFact): string | undefined;
  param(name: string): string | undefined;
  /** @param name in lower case */
  header(name: string): string | undefined;
  query(name: string): string | undefined;
}

/** What a client may put into a token through a header or the query is at most this long; longer, it counts as missing. */
export const MAX_CLIENT_TEXT_LENGTH = 1024;

/** Compiles a text that has been taken apart into what it says and the references in it. */
export function textTemplate(parts: readonly (string | Reference)[]): ValueTemplate {
  const [only, second] = parts;
  if (second === undefined && typeof only === "object") return { kind: "reference", reference: only };
  const text = parts.filter((part) => typeof part === "string");
  return text.length === parts.length ? { kind: "literal", value: text.join("") } : { kind: "text", parts };
}

/** Compiles a list; where nothing in it depends on the request it is a literal. */
export function listTemplate(items: readonly ValueTemplate[]): ValueTemplate {
  const values = literalsOf(items);
  return values ? { kind: "literal", value: values } : { kind: "list", items };
}

/** Compiles a map; where nothing in it depends on the request it is a literal. */
export function mapTemplate(members: readonly (readonly [string, ValueTemplate])[]): ValueTemplate {
  const values = literalsOf(members.map(([, value]) => value));
  if (!values) return { kind: "map", members };
  return {
    kind: "literal",
    value: Object.fromEntries(members.map(([name], index) => [name, values[index] as JsonValue])),
  };
}

function literalsOf(templates: readonly ValueTemplate[]): JsonValue[] | undefined {
  const literals = templates.filter((template) => template.kind === "literal");
  return literals.length === templates.length ? literals.map(({ value }) => value) : undefined;
}

/**
 * The value of a template for one request; `undefined` where a reference in a text, or the whole value, is missing. What is
 * missing in a list or map is left out of it. It never throws.
 */
export function evaluate(template: ValueTemplate, context: TemplateContext): JsonValue | undefined {
  switch (template.kind) {
    case "literal":
      return template.value;
    case "reference":
      return lookUp(template.reference, context);
    case "text":
      return textOf(template.parts, context);
    case "list":
      return template.items.map((item) => evaluate(item, context)).filter((value) => value !== undefined);
    case "map":
      return membersOf(template.members, context);
  }
}

function membersOf(
  members: readonly (readonly [string, ValueTemplate])[],
  context: TemplateContext,
): JsonValue {
  const value: { [name: string]: JsonValue } = {};
  for (const [name, template] of members) {
    const member = evaluate(template, context);
    if (member !== undefined) value[name] = member;
  }
  return value;
}

function textOf(parts: readonly (string | Reference)[], context: TemplateContext): string | undefined {
  let text = "";
  for (const part of parts) {
    const value = typeof part === "string" ? part : lookUp(part, context);
    if (value === undefined) return undefined;
    text += typeof value === "string" ? value : JSON.stringify(value);
  }
  return text;
}

/** What a reference stands for. `null` and the empty text of a client's are nothing. */
function lookUp({ fn, argument }: Reference, context: TemplateContext): JsonValue | undefined {
  switch (fn) {
    case "user":
      return (context.user && claimOf(context.user, argument)) ?? undefined;
    case "request":
      return context.fact(argument as RequestFact);
    case "param":
      return context.param(argument);
    case "header":
      return bounded(context.header(argument));
    case "query":
      return bounded(context.query(argument));
  }
}

function bounded(text: string | undefined): string | undefined {
  return text === undefined || text === "" || text.length > MAX_CLIENT_TEXT_LENGTH ? undefined : text;
}

/** How the file writes a template: `Order $param(id)`. A literal is its JSON. */
export function describeTemplate(template: ValueTemplate): string {
  switch (template.kind) {
    case "literal":
      return JSON.stringify(template.value);
    case "reference":
      return `$${template.reference.fn}(${template.reference.argument})`;
    case "text":
      return template.parts
        .map((part) => (typeof part === "string" ? part : `$${part.fn}(${part.argument})`))
        .join("");
    case "list":
      return `[${template.items.map(describeTemplate).join(", ")}]`;
    case "map":
      return `{${template.members.map(([name, member]) => `${name}: ${describeTemplate(member)}`).join(", ")}}`;
  }
}
