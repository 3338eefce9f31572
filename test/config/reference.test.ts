import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { sidecarJsonSchema } from "../../src/config/json-schema.ts";

interface Schema {
  readonly $ref?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly anyOf?: readonly Schema[];
}

const root = sidecarJsonSchema() as Schema & { readonly $defs?: Readonly<Record<string, Schema>> };
const reference = readFileSync(new URL("../../docs/configuration.md", import.meta.url), "utf8");
/** The first cell of each row: keys, in backticks. */
const rows = [...reference.matchAll(/^\| (`[^|]+`) +\|/gm)].map(([, cell]) => cell ?? "");

/** The maps that a value may be, without the names of their definitions. */
function mapsOf(schema: Schema): readonly Schema[] {
  const { $ref, anyOf = [] } = schema;
  if ($ref) return mapsOf(root.$defs?.[$ref.replace("#/$defs/", "")] ?? {});
  return schema.properties ? [schema] : anyOf.flatMap(mapsOf);
}

function keysBelow(schema: Schema, path: string): readonly string[] {
  return mapsOf(schema).flatMap(({ properties = {} }) =>
    Object.entries(properties).flatMap(([key, value]) => {
      const below = keysBelow(value, `${path}.${key}`);
      return below.length > 0 ? below : [`${path}.${key}`];
    }),
  );
}

/** Whether a row is about a key: `a.b.c`, or `a.b.x`, `c`. */
function isNamed(path: string): boolean {
  const [, map, key] = /^(.*\.)([^.]+)$/.exec(path) ?? [];
  return rows.some(
    (row) => row.includes(`\`${path}\``) || (row.startsWith(`\`${map}`) && row.includes(`\`${key}\``)),
  );
}

test.each(["upstream", "limits", "timeouts"])("docs/configuration.md names every key of %s", (name) => {
  const keys = keysBelow(root.properties?.[name] ?? {}, name);

  expect(keys.length).toBeGreaterThan(2);
  expect(keys.filter((path) => !isNamed(path))).toEqual([]);
});

test("docs/configuration.md names every key of the file", () => {
  const keys = Object.keys(root.properties ?? {});

  expect(keys).toContain("upstream");
  expect(
    keys.filter((key) => !rows.some((row) => row.startsWith(`\`${key}\``) || row.startsWith(`\`${key}.`))),
  ).toEqual([]);
});
