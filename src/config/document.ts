import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type Scalar,
  visit,
} from "yaml";
import { formatKey, type Position, type Problem } from "./problems.ts";

/** The path of keys and indexes from the top of a document to a value. */
export type KeyPath = readonly PropertyKey[];

/** A YAML text that has been read, with a way back from each value to its line. */
export interface SourceDocument {
  /** Plain JavaScript: maps, lists, strings, numbers, booleans and null. */
  readonly value: unknown;
  /** What is wrong with the YAML itself, and with references to the environment. */
  readonly problems: readonly Problem[];
  /** Where the value at `path` stands; the nearest thing above it where it is missing. */
  positionOf(path: KeyPath): Position | undefined;
  /** Where the key itself stands, at the end of `path`. */
  positionOfKey(path: KeyPath): Position | undefined;
}

/** What {@link readDocument} needs beside the text. */
export interface DocumentOptions {
  /** The name for messages. */
  readonly file: string;
  /** Where `$env(NAME)` is looked up. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/**
 * Reads YAML 1.2 and resolves `$env(NAME)` and `$env(NAME, default)` in its string values. Duplicate keys,
 * unknown tags and numbers that JavaScript would round are problems. What a variable held is never scanned again.
 */
export function readDocument(text: string, { file, env }: DocumentOptions): SourceDocument {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const problems: Problem[] = [];
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };

  for (const error of [...document.errors, ...document.warnings]) {
    problems.push({ file, position: at(error.pos[0]), key: "", message: yamlMessage(error) });
  }
  if (problems.length > 0) return { value: undefined, problems, positionOf: none, positionOfKey: none };

  visit(document, {
    Scalar(role, node, ancestors) {
      if (role === "key") return;
      const report = (message: string, index = 0) =>
        problems.push({
          file,
          position: node.range ? at(node.range[0] + quoteWidth(node) + index) : undefined,
          key: formatKey(pathOf(ancestors, role)),
          message,
        });
      if (typeof node.value === "string") node.value = resolveReferences(node.value, env, report);
      else checkNumber(node, report);
    },
  });

  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    // The library refuses documents whose aliases multiply ("billion laughs").
    problems.push({ file, key: "", message: `cannot be expanded: ${(error as Error).message}` });
  }
  const offsetOf = (path: KeyPath, wantKey: boolean) => {
    const offset = locate(document, path, wantKey);
    return offset === undefined ? undefined : at(offset);
  };
  return {
    value,
    problems,
    positionOf: (path) => offsetOf(path, false),
    positionOfKey: (path) => offsetOf(path, true),
  };
}

const none = () => undefined;

function yamlMessage(error: { code: string; message: string }): string {
  if (error.code === "DUPLICATE_KEY") return "this key stands here twice; keep one";
  if (error.code === "TAB_AS_INDENT") return "a tab cannot indent YAML; use spaces";
  return `not valid YAML: ${error.message}`;
}

function quoteWidth(node: Scalar): number {
  return node.type === "QUOTE_DOUBLE" || node.type === "QUOTE_SINGLE" ? 1 : 0;
}

/** Any `$word(`: `$env(…)` with its name and default, or something that is not known. */
const REFERENCE_PATTERN = /\$([A-Za-z]+)\((?:\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:,\s*([^)]*?)\s*)?\))?/g;
const PLANNED_FUNCTIONS = new Set(["user", "request", "param", "header", "query"]);

function resolveReferences(
  text: string,
  env: DocumentOptions["env"],
  report: (message: string, index: number) => void,
): string {
  return text.replace(REFERENCE_PATTERN, (whole, fn: string, name, fallback, index: number) => {
    if (PLANNED_FUNCTIONS.has(fn)) {
      report(`$${fn}(…) is not supported yet; the function known here is $env(NAME)`, index);
    } else if (fn !== "env") {
      report(`unknown function $${fn}(…); the function known here is $env(NAME)`, index);
    } else if (name === undefined) {
      report("expected $env(NAME) or $env(NAME, default), with a name of letters, digits and _", index);
    } else if (env[name] !== undefined) {
      return env[name];
    } else if (fallback !== undefined) {
      return fallback;
    } else {
      report(
        `the environment variable ${name} is not set; set it, or give a default: $env(${name}, …)`,
        index,
      );
    }
    return whole;
  });
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

/** The offset of the value (or of its key) at `path`, or of the deepest thing on the way that exists. */
function locate(document: Document, path: KeyPath, wantKey: boolean): number | undefined {
  let node: unknown = document.contents;
  let offset = (node as Node | null)?.range?.[0];
  for (const [depth, step] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document);
    if (!isCollection(node)) break;
    const pair = isMap(node)
      ? node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step))
      : undefined;
    const child = isMap(node) ? pair?.value : node.items[step as number];
    if (child === undefined && pair === undefined) break;
    const keyOffset = (pair?.key as Node | undefined)?.range?.[0];
    offset = (child as Node | null)?.range?.[0] ?? keyOffset ?? offset;
    if (wantKey && depth === path.length - 1) offset = keyOffset ?? offset;
    node = child;
  }
  return offset;
}
