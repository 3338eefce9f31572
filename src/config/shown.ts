import { formatAddress, type ListenAddress } from "../gateway/listen/listen-options.ts";
import { writtenValueOf } from "./document.ts";
import { sidecarJsonSchema } from "./json-schema.ts";
import { withoutFallbacks } from "./references.ts";

/** What stands where a secret is. */
const HIDDEN = "(hidden)";

/** Keys that the schema marks as secret, wherever they stand; found out when somebody asks first. */
let secretKeys: ReadonlySet<string> | undefined;

type Shown = string | number | boolean | null | readonly Shown[] | { readonly [key: string]: Shown };

/**
 * A configuration for people to read: each value as it is written in the file, and where it is not the default. What a
 * variable holds is never shown, nor a secret.
 *
 * @param text the YAML, which has no problems
 * @param overridden puts what flags say in the place of what is written
 * @param checked what the schema made of it, with every default
 */
export function shownConfiguration(
  text: string,
  overridden: (written: unknown) => unknown,
  checked: object,
): Shown {
  return shown("", overridden(writtenValueOf(text) ?? {}), checked);
}

function shown(key: string, written: unknown, checked: unknown): Shown {
  if (isSecret(key)) return HIDDEN;
  if (written === undefined) return shownDefault(key, checked);
  if (typeof written === "string") return withoutFallbacks(written);
  if (Array.isArray(written))
    return written.map((item, index) => shown("", item, Array.isArray(checked) ? checked[index] : undefined));
  if (!isMap(written)) return written as Shown;
  const defaults = isMap(checked) && !isAddress(checked) ? checked : {};
  const keys = new Set([...Object.keys(written), ...Object.keys(defaults)]);
  return Object.fromEntries(
    [...keys].flatMap((name) =>
      written[name] === undefined && defaults[name] === undefined
        ? []
        : [[name, shown(name, written[name], defaults[name])]],
    ),
  );
}

function shownDefault(key: string, value: unknown): Shown {
  if (isAddress(value)) return formatAddress(value);
  if (isMap(value)) return shown(key, {}, value);
  return (value ?? null) as Shown;
}

function isSecret(key: string): boolean {
  secretKeys ??= new Set(secretKeysIn(sidecarJsonSchema()));
  return secretKeys.has(key);
}

/** The keys of maps anywhere in a JSON Schema whose values are `writeOnly`. */
export function secretKeysIn(schema: unknown): string[] {
  if (Array.isArray(schema)) return schema.flatMap(secretKeysIn);
  if (!isMap(schema)) return [];
  const properties = Object.entries(isMap(schema.properties) ? schema.properties : {});
  return [
    ...properties.flatMap(([key, value]) => (isMap(value) && value.writeOnly === true ? [key] : [])),
    ...Object.values(schema).flatMap(secretKeysIn),
  ];
}

/** Nothing else of what the schema makes has a kind. */
function isAddress(value: unknown): value is ListenAddress {
  return isMap(value) && "kind" in value;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
