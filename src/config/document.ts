import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isPair,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  parseDocument,
  type Scalar,
  visit,
} from "yaml";
import { formatKey, type Position, type Problem } from "./problems.ts";
import { type Environment, readReferences, type WrittenReference } from "./references.ts";

/** The path of keys and indexes from the top of a document to a value. */
export type KeyPath = readonly PropertyKey[];

/** A YAML text that has been read, with a way back from each value to its line. */
export interface SourceDocument {
  /** Plain JavaScript: maps, lists, strings, numbers, booleans and null. */
  readonly value: unknown;
  /** What is wrong with the YAML itself, and with references to the environment. */
  readonly problems: readonly Problem[];
  /** Where the value at `path` stands; the nearest thing above it where it is missing. */
  positionOf(path: KeyPath): Position;
  /** Where the key itself stands, at the end of `path`. */
  positionOfKey(path: KeyPath): Position;
  /** What the text at `path` is made of, where references are left in it; `undefined` where it is plain. */
  templateAt(path: KeyPath): TemplateParts | undefined;
}

/** A text in which references stand for what is known when a request comes. */
export type TemplateParts = readonly (string | (WrittenReference & { readonly position: Position }))[];

/** What {@link readDocument} needs beside the text. */
export interface DocumentOptions {
  /** The name for messages. */
  readonly file: string;
  /** Where `$env(NAME)` is looked up. */
  readonly env: Environment;
  /** Whether a text at this place may refer to the request: `$user(…)` and so on. Default: nowhere. */
  readonly takesTemplates?: (path: KeyPath) => boolean;
}

const YAML_OPTIONS = {
  prettyErrors: false,
  uniqueKeys: true,
  stringKeys: true,
  // JSON's kinds of value and no others: neither a tag nor a %YAML directive makes a set, a date or bytes.
  schema: "core",
  resolveKnownTags: false,
} as const;

/** So often may values be repeated, all in all. */
const MAX_ALIAS_COUNT = 1000;

/** Reads a text in which {@link readDocument} has found no problems, and leaves every reference as it is written. */
export function writtenValueOf(text: string): unknown {
  return parseDocument(text, YAML_OPTIONS).toJS({ maxAliasCount: MAX_ALIAS_COUNT });
}

/**
 * Reads YAML 1.2 and resolves `$env(NAME)` and `$env(NAME, default)` in its string values; other references stay, for
 * {@link SourceDocument.templateAt}. Duplicate keys, tags, aliases that lead nowhere and numbers that JavaScript would
 * round are problems. What a variable held is never scanned again.
 */
export function readDocument(
  text: string,
  { file, env, takesTemplates = () => false }: DocumentOptions,
): SourceDocument {
  const document = parseDocument(text, YAML_OPTIONS);
  const problems: Problem[] = [];
  const templates = new Map<unknown, TemplateParts>();
  const at = createLineCounter(text);

  const source: SourceDocument = {
    value: undefined,
    problems,
    positionOf: (path) => at(locate(document, path).valueOffset),
    positionOfKey: (path) => at(locate(document, path).keyOffset),
    templateAt: (path) => templates.get(locate(document, path).node),
  };

  for (const error of [...document.errors, ...document.warnings]) {
    problems.push({ file, position: at(error.pos[0]), key: "", message: yamlMessage(error) });
    // What follows is only this one over again, from each level on the way out.
    if (error.code === "RESOURCE_EXHAUSTION") break;
  }
  if (problems.length > 0) return source;

  let canBeExpanded = true;
  visit(document, {
    Scalar(role, node, ancestors) {
      const [start, end] = rangeOf(node);
      const report = (message: string, offset = start) =>
        problems.push({ file, position: at(offset), key: formatKey(pathOf(ancestors, role)), message });
      if (role === "key") {
        if (node.value === "__proto__") report("`__proto__` cannot be a key");
        return;
      }
      if (typeof node.value !== "string") return checkNumber(node, report);
      let searchFrom = start;
      const offsetOf = (reference: string) => {
        // An escape or a folded line may hide it; then the start of the value has to do.
        const found = text.indexOf(reference, searchFrom);
        const isInside = found !== -1 && found < end;
        if (isInside) searchFrom = found + 1;
        return isInside ? found : start;
      };
      const parts = readReferences(node.value, env, (message, reference) =>
        report(message, offsetOf(reference)),
      );
      node.value = parts.map((part) => (typeof part === "string" ? part : part.source)).join("");
      if (parts.every((part) => typeof part === "string")) return;
      searchFrom = start;
      const placed = parts.map((part) =>
        typeof part === "string" ? part : { ...part, position: at(offsetOf(part.source)) },
      );
      templates.set(node, placed);
      if (takesTemplates(pathOf(ancestors, role))) return;
      for (const part of placed)
        if (typeof part !== "string")
          problems.push({
            file,
            position: part.position,
            key: formatKey(pathOf(ancestors, role)),
            message: `$${part.fn}(…) is known only in subject, audience${part.fn === "user" ? ", actor" : ""} and additionalClaims of a token; here $env(NAME) is`,
          });
    },
    Alias(role, node, ancestors) {
      const target = node.resolve(document);
      if (target && !ancestors.includes(target)) return;
      canBeExpanded = false;
      const message = target
        ? `the alias *${node.source} stands inside the value that it repeats`
        : // What follows the asterisk may be half a password.
          "an alias (*) that repeats nothing: no value above it has this anchor (&); a text that begins with * needs quotes";
      problems.push({
        file,
        position: at(rangeOf(node)[0]),
        key: formatKey(pathOf(ancestors, role)),
        message,
      });
    },
  });
  if (!canBeExpanded) return source;

  try {
    return { ...source, value: document.toJS({ maxAliasCount: MAX_ALIAS_COUNT }) };
  } catch {
    // The library refuses aliases of aliases that multiply ("billion laughs").
    const message = "the aliases in this file repeat too much; write the values out";
    return { ...source, problems: [...problems, { file, position: at(0), key: "", message }] };
  }
}

function yamlMessage(error: { code: string; message: string }): string {
  if (error.code === "DUPLICATE_KEY") return "this key stands here twice; keep one";
  if (error.code === "TAB_AS_INDENT") return "a tab cannot indent YAML; use spaces";
  if (error.code === "MULTIPLE_DOCS") return "a second document begins here, and only one is read; remove it";
  if (error.code === "NON_STRING_KEY") return "a key must be a word, not a map, a list or an alias";
  if (error.code === "TAG_RESOLVE_FAILED") return "this tag is not known here; remove it";
  if (error.code === "RESOURCE_EXHAUSTION") return "nested too deeply";
  if (error.code === "BAD_DIRECTIVE") return "this directive is not known here; remove it";
  // Behind a colon the library repeats the text that it stumbled over, which may be a secret.
  return `not valid YAML: ${error.message.replace(/(?<=\S): .*$|(?<=escape sequence) .*$/s, "")}`;
}

/** Finds places in a text. The library's own counter misses line ends inside what it cannot parse. */
function createLineCounter(text: string): (offset: number) => Position {
  const starts = [0];
  for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n", end + 1)) starts.push(end + 1);
  return (offset) => {
    // The last line that does not start behind the place; looked for by halves, as a file may have many of both.
    let line = 0;
    for (let above = starts.length; above - line > 1; ) {
      const middle = (line + above) >> 1;
      if ((starts[middle] as number) <= offset) line = middle;
      else above = middle;
    }
    return { line: line + 1, column: offset - (starts[line] as number) + 1 };
  };
}

/** Where a node of a parsed text begins and ends. */
function rangeOf({ range }: Node): readonly [number, number] {
  return [range?.[0] ?? 0, range?.[1] ?? 0];
}

function checkNumber(node: Scalar, report: (message: string) => void): void {
  if (typeof node.value !== "number") return;
  if (!Number.isFinite(node.value)) report("expected a finite number");
  else if (Number.isInteger(node.value) && !Number.isSafeInteger(node.value))
    report("this integer is too large to be kept exactly; quote it to make it a string");
}

/** The keys and indexes that lead to the node which `visit` is at. */
function pathOf(
  ancestors: readonly (Document | Node | Pair)[],
  role: number | "key" | "value" | null,
): PropertyKey[] {
  const path: PropertyKey[] = [];
  ancestors.forEach((ancestor, depth) => {
    if (isPair(ancestor) && isScalar(ancestor.key)) path.push(String(ancestor.key.value));
    else if (isSeq(ancestor)) {
      const next = ancestors[depth + 1];
      path.push(next === undefined ? (role as number) : ancestor.items.indexOf(next));
    }
  });
  return path;
}

/** What stands at the end of `path`, or the deepest thing on the way that exists. */
interface Located {
  /** `undefined` where there is nothing at the end. */
  readonly node: unknown;
  readonly valueOffset: number;
  readonly keyOffset: number;
}

function locate(document: Document, path: KeyPath): Located {
  let node: unknown = document.contents;
  let valueOffset = (node as Node | null)?.range?.[0] ?? 0;
  let keyOffset = valueOffset;
  for (const step of path) {
    node = resolved(node, document);
    if (!isCollection(node)) return { node: undefined, valueOffset, keyOffset };
    const pair = isMap(node)
      ? node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step))
      : undefined;
    const child = isMap(node) ? pair?.value : node.items[step as number];
    if (child === undefined && pair === undefined) return { node: undefined, valueOffset, keyOffset };
    const ofKey = (pair?.key as Node | undefined)?.range?.[0];
    valueOffset = (child as Node | null)?.range?.[0] ?? ofKey ?? valueOffset;
    keyOffset = ofKey ?? valueOffset;
    node = child;
  }
  return { node: resolved(node, document), valueOffset, keyOffset };
}

function resolved(node: unknown, document: Document): unknown {
  return isAlias(node) ? node.resolve(document) : node;
}
