// Writes the lists of keys in docs/configuration.md anew, from the schema in src/config: npm run reference.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type JsonSchema, sidecarJsonSchema } from "../src/config/json-schema.ts";

const PAGE = new URL("../docs/configuration.md", import.meta.url);
const WIDTH = 120;

/** Maps whose keys are listed once, where another stands. */
export const SAME_KEYS: Readonly<Record<string, string>> = {
  admin: "listen",
  "policies.token": "token",
  "policies.upstream": "upstream",
  "policies.require.anyOf": "policies.require",
};

/** Where more is said of a key than its description does. */
export const LINKS: Readonly<Record<string, string>> = {
  "listen.address": "[Listeners](listeners.md#addresses)",
  "listen.tls": "[TLS](tls.md)",
  "listen.tls.clientCertificate": "[Certificates of clients](tls.md#certificates-of-clients)",
  "listen.http2": "[HTTP/2](listeners.md#http2)",
  admin: "[Operating](operating.md#probes)",
  trustedProxies: "[Behind a proxy](behind-a-proxy.md)",
  workers: "[Several processes](operating.md#several-processes)",
  authenticate: "[Who is calling](authenticators/README.md)",
  "upstream.connections": "[Connections](upstreams.md#connections), [WebSockets](websockets.md)",
  "upstream.healthCheck": "[Health checks](upstreams.md#health-checks)",
  "limits.connections": "[Limits](listeners.md#limits)",
  "timeouts.notReady": "[Signals](operating.md#signals)",
  "timeouts.drain": "[WebSockets](websockets.md#when-the-sidecar-stops)",
  "issuer.keys": "[Keys and their rotation](keys.md)",
  "issuer.keys.pkcs11": "[Keys on a token or HSM](hsm.md)",
  "identity.files": "[Files](identity-tokens.md#files)",
  "log.subject": "[Subjects](logs.md#subjects)",
  "policies.match.path": "[Patterns](#patterns)",
  "policies.require": "[What a caller must have](policies.md#require)",
  "policies.module": "[Modules](modules.md)",
  "policies.upstream": "[Another backend](policies.md#another-backend)",
};

/** A key, as the page tells it. */
export interface Entry {
  /** From the top of the file. */
  readonly path: string;
  /** From the top of its list. */
  readonly name: string;
  readonly schema: JsonSchema;
  readonly isRequired: boolean;
}

/** The page with every list in it as the schema has it; what stands around the lists stays. */
export function withReference(page: string): string {
  const headings = headingsOf(page);
  const lists = new Map(
    [...referenceLists()].map(([name, entries]) => [
      name,
      entries.map((entry) => told(entry, headings)).join("\n"),
    ]),
  );
  const marked = /(<!-- keys of (\S+) -->\n)[\s\S]*?(?=<!-- end of keys -->)/g;
  const found = [...page.matchAll(marked)].map(([, , name]) => name);
  for (const name of lists.keys())
    if (found.filter((other) => other === name).length !== 1)
      throw new Error(
        `docs/configuration.md needs one "<!-- keys of ${name} -->" and "<!-- end of keys -->"`,
      );
  return page.replaceAll(marked, (_, start: string, name: string) => {
    const list = lists.get(name);
    if (list === undefined) throw new Error(`docs/configuration.md: the schema has no list "${name}"`);
    return `${start}\n${list}\n\n`;
  });
}

/** The lists by name: the top of the file, each map in it, and each type of authenticator. */
export function referenceLists(): Map<string, readonly Entry[]> {
  const root = sidecarJsonSchema();
  const lists = new Map<string, readonly Entry[]>([["sidecar.yaml", entriesOf(root, "", "")]]);
  for (const { path, schema } of lists.get("sidecar.yaml") ?? []) {
    const below = mapIn(schema);
    if (below && !SAME_KEYS[path]) lists.set(path, entriesBelow(below.map, path, ""));
  }
  const { additionalProperties: authenticator } = root.properties?.authenticators ?? {};
  for (const map of (typeof authenticator === "object" && authenticator.oneOf) || []) {
    const type = String(map.properties?.type?.const);
    lists.set(type, entriesBelow(map, `authenticators.${type}`, ""));
  }
  return lists;
}

/** The entries of a map, each followed by those of the map in it. */
function entriesBelow(map: JsonSchema, path: string, name: string): Entry[] {
  return entriesOf(map, path, name).flatMap((entry) => {
    const below = mapIn(entry.schema);
    if (!below || SAME_KEYS[entry.path]) return [entry];
    return [entry, ...entriesBelow(below.map, entry.path, `${entry.name}${below.suffix}.`)];
  });
}

function entriesOf({ properties = {}, required = [] }: JsonSchema, path: string, name: string): Entry[] {
  return Object.entries(properties).map(([key, schema]) => ({
    path: path === "" ? key : `${path}.${key}`,
    name: `${name}${key}`,
    schema,
    isRequired: required.includes(key),
  }));
}

/** The map with known keys that a value may be, or a list may have. */
function mapIn(schema: JsonSchema): { readonly map: JsonSchema; readonly suffix: "" | "[]" } | undefined {
  if (schema.properties) return { map: schema, suffix: "" };
  const inForms = (schema.anyOf ?? []).map(mapIn).find((found) => found !== undefined);
  if (inForms) return inForms;
  const inList = schema.items && mapIn(schema.items);
  return inList && { map: inList.map, suffix: "[]" };
}

/** The keys of the file that have a part of the page to themselves. */
function headingsOf(page: string): ReadonlySet<string> {
  return new Set([...page.matchAll(/^## `(\w+)`$/gm)].map(([, key = ""]) => key));
}

/** An entry in Markdown: the key, what it takes and what it is without being said; then what it means. */
function told({ path, name, schema, isRequired }: Entry, headings: ReadonlySet<string>): string {
  const { meaning, standard } = descriptionOf(schema);
  const facts = [valuesOf(schema), isRequired ? "required" : "", standard && `default: ${standard}`];
  const more = LINKS[path] ? `See ${LINKS[path]}.` : "";
  const key = headings.has(path) ? `[**\`${name}\`**](#${path.toLowerCase()})` : `**\`${name}\`**`;
  const head = `- ${key}: ${facts.filter(Boolean).join("; ")}`;
  const text = [meaning, more].filter(Boolean).join(" ");
  return text === "" ? head : `${head}\\\n${wrapped(text)}`;
}

/** Takes the default out of a description: the last sentence of it, which begins with "Default: ". */
export function descriptionOf({ description = "" }: JsonSchema): { meaning: string; standard: string } {
  const [, meaning = "", standard = ""] = /^(.*?)(?:(?:^| )Default: (.*)\.)?$/.exec(description) ?? [];
  return { meaning, standard };
}

/** What a value may be, in words. */
function valuesOf(schema: JsonSchema): string {
  const { title, type, anyOf, items, minimum, maximum } = schema;
  if (title !== undefined) return title;
  if (schema.const !== undefined) return `\`${schema.const}\``;
  if (schema.enum) return either(schema.enum.map((word) => `\`${word}\``));
  if (anyOf) return either(formsOf(schema).map(valuesOf));
  if (items) return `list of ${formsOf(items).map(severalOf).join(" or ")}`;
  if (type === "boolean") return "`true` or `false`";
  if (type === "string") return "text";
  if (type === "object") return "map";
  const range = minimum === undefined ? "" : ` from ${minimum} to ${maximum}`;
  return `${type === "integer" ? "whole number" : "number"}${range}`;
}

function formsOf(schema: JsonSchema): readonly JsonSchema[] {
  return schema.anyOf ? schema.anyOf.flatMap(formsOf) : [schema];
}

function severalOf(schema: JsonSchema): string {
  const one = valuesOf(schema);
  return /[a-z]$/i.test(one) ? `${one}${one.endsWith("s") ? "es" : "s"}` : one;
}

function either(words: readonly string[]): string {
  return words.length < 2 ? words.join() : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

/** The text in lines below a list's item. Neither a link nor code is broken. */
function wrapped(text: string): string {
  const lines = [""];
  for (const [word] of text.matchAll(/(?:\[[^\]]*\]|`[^`]*`|\S)+/g)) {
    const line = lines.at(-1) ?? "";
    if (line !== "" && line.length + word.length + 3 > WIDTH) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines.map((line) => `  ${line}`).join("\n");
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  writeFileSync(PAGE, withReference(readFileSync(PAGE, "utf8")));
