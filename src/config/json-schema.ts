import { stringify } from "yaml";
import { z } from "zod";
import { sidecarSchema } from "./schema.ts";

/** A part of a JSON Schema, as far as it is read here. */
export interface JsonSchema {
  readonly title?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly type?: string | readonly string[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | JsonSchema;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
}

/**
 * The JSON Schema (draft 2020-12) of `sidecar.yaml`, for editors and for the reference. A description ends with
 * "Default: …." where a key that is left out means something.
 */
export function sidecarJsonSchema(): JsonSchema {
  return withDefaultsSaid({
    title: "sidecar.yaml",
    description: "The configuration of the Countersign sidecar.",
    ...z.toJSONSchema(sidecarSchema, { io: "input", target: "draft-2020-12" }),
  }) as JsonSchema;
}

/** Adds to each description the default that the schema fills in; that of a map is said key by key. */
function withDefaultsSaid(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withDefaultsSaid);
  if (typeof schema !== "object" || schema === null) return schema;
  const said = Object.fromEntries(Object.entries(schema).map(([key, part]) => [key, withDefaultsSaid(part)]));
  if (said.default === undefined || said.description === undefined || said.properties) return said;
  const value = stringify(said.default, { collectionStyle: "flow", flowCollectionPadding: false }).trim();
  return { ...said, description: `${said.description} Default: \`${value}\`.` };
}
