import { formatAddress, type ListenAddress } from "../gateway/listen/listen-options.ts";
import { writtenValueOf } from "./document.ts";
import { withoutFallbacks } from "./references.ts";

/** What stands where a secret is. */
const HIDDEN = "(hidden)";

/** Keys whose values are secrets, or could be tried out against a list of likely ones. */
const SECRET_KEYS: ReadonlySet<string> = new Set(["passphrase", "passwordHash", "sha256"]);

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
  if (written === undefined) return shownDefault(key, checked);
  if (SECRET_KEYS.has(key)) return HIDDEN;
  if (typeof written === "string") return withoutFallbacks(written);
  if (Array.isArray(written))
    return written.map((item, index) => shown("", item, Array.isArray(checked) ? checked[index] : undefined));
  if (!isMap(written)) return written as Shown;
  const defaults = isMap(checked) && !("kind" in checked) ? checked : {};
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
  if (isMap(value) && "kind" in value) return formatAddress(value as unknown as ListenAddress);
  if (isMap(value)) return shown(key, {}, value);
  return (value ?? null) as Shown;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
