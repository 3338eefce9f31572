/** A field line: its name as it was written, and its value without the space around it. */
export type FieldLine = readonly [name: string, value: string];

/** What a strict reader makes of bytes, which it gets as Latin-1 text. It guesses nothing: what could be read in two ways is broken. */
export type Reading<T> =
  | {
      readonly kind: "whole";
      readonly message: T;
      /** How many bytes it has. */
      readonly length: number;
    }
  /** It may become whole, when more comes. */
  | { readonly kind: "incomplete" }
  | { readonly kind: "broken"; readonly why: string };

/** Where a part of a message ends: at an offset, or nowhere yet. */
export type Part<T> =
  | { readonly kind: "whole"; readonly value: T; readonly end: number }
  | { readonly kind: "incomplete" }
  | { readonly kind: "broken"; readonly why: string };

/** How the body of a message is delimited (RFC 9112 §6.3). */
export type Framing =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly bytes: number }
  | { readonly kind: "chunked" }
  | { readonly kind: "broken"; readonly why: string };

/** The body of a message, with what stood beside it. */
export interface Body {
  readonly content: string;
  readonly trailers: readonly FieldLine[];
  readonly hasChunkExtensions: boolean;
}

const INCOMPLETE = { kind: "incomplete" } as const;

/** A sender that never ends a line would make a strict reader wait for ever. */
const MAX_HEAD_BYTES = 1_000_000;

/** One token of RFC 9110 §5.6.2. */
export const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const FIELD_LINE = new RegExp(`^(${TOKEN}):[ \\t]*([\\t\\x20-\\x7e\\x80-\\xff]*)$`);
const CHUNK_LINE = /^([0-9A-Fa-f]{1,12})[ \t]*((?:;[\t\x20-\x7e\x80-\xff]*)?)$/;

/** The values of all lines of a field, by its exact name without regard to case. */
export function valuesOf(fields: readonly FieldLine[], name: string): string[] {
  return fields.filter(([found]) => found.toLowerCase() === name).map(([, value]) => value);
}

/** The one value of a field; `undefined` where there is none, or more than one. */
export function onlyValueOf(fields: readonly FieldLine[], name: string): string | undefined {
  const [value, second] = valuesOf(fields, name);
  return second === undefined ? value : undefined;
}

/** The members of a field that is a list, in lower case. */
export function listOf(fields: readonly FieldLine[], name: string): string[] {
  return valuesOf(fields, name)
    .flatMap((value) => value.split(","))
    .map((member) => member.trim().toLowerCase())
    .filter((member) => member !== "");
}

/** Reads one line, which ends with CR LF and holds no other of either, nor a NUL. */
export function readLine(text: string, start: number): Part<string> {
  const end = text.indexOf("\r\n", start);
  const line = text.slice(start, end === -1 ? undefined : end);
  // A CR at the very end may yet become the end of the line.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\x00\n]|\r./s.test(line)) return { kind: "broken", why: "a bare CR, a bare LF or a NUL" };
  if (end !== -1) return { kind: "whole", value: line, end: end + 2 };
  return line.length > MAX_HEAD_BYTES ? { kind: "broken", why: "a line without end" } : INCOMPLETE;
}

/** Reads field lines up to the empty line behind them (RFC 9112 §5). No line is folded. */
export function readFields(text: string, start: number): Part<FieldLine[]> {
  const fields: FieldLine[] = [];
  for (let at = start; ; ) {
    const line = readLine(text, at);
    if (line.kind !== "whole") return line;
    at = line.end;
    if (line.value === "") return { kind: "whole", value: fields, end: at };
    const match = FIELD_LINE.exec(line.value);
    if (!match) return { kind: "broken", why: `no field line: ${JSON.stringify(line.value.slice(0, 80))}` };
    fields.push([match[1] as string, (match[2] as string).replace(/[ \t]+$/, "")]);
  }
}

/** How the body is framed: by one Content-Length, or by chunked alone; with both, or two of one, nobody can know. */
export function framingOf(fields: readonly FieldLine[]): Framing {
  const lengths = valuesOf(fields, "content-length");
  const codings = valuesOf(fields, "transfer-encoding");
  if (lengths.length + codings.length > 1)
    return { kind: "broken", why: "more than one field says how long the body is" };
  const [length] = lengths;
  if (length !== undefined) {
    if (!/^\d+$/.test(length) || Number(length) > Number.MAX_SAFE_INTEGER)
      return { kind: "broken", why: `Content-Length ${JSON.stringify(length)}` };
    return { kind: "length", bytes: Number(length) };
  }
  const [coding] = codings;
  if (coding === undefined) return { kind: "none" };
  return coding.toLowerCase() === "chunked"
    ? { kind: "chunked" }
    : { kind: "broken", why: `Transfer-Encoding ${JSON.stringify(coding)}` };
}

/** Reads a body that is framed so. */
export function readBody(text: string, start: number, framing: Framing): Part<Body> {
  switch (framing.kind) {
    case "broken":
      return framing;
    case "none":
      return bodyOf("", start);
    case "length":
      if (text.length - start < framing.bytes) return INCOMPLETE;
      return bodyOf(text.slice(start, start + framing.bytes), start + framing.bytes);
    case "chunked":
      return readChunks(text, start);
  }
}

function bodyOf(content: string, end: number): Part<Body> {
  return { kind: "whole", value: { content, trailers: [], hasChunkExtensions: false }, end };
}

/** RFC 9112 §7.1. */
function readChunks(text: string, start: number): Part<Body> {
  let content = "";
  let hasChunkExtensions = false;
  for (let at = start; ; ) {
    const line = readLine(text, at);
    if (line.kind !== "whole") return line;
    const match = CHUNK_LINE.exec(line.value);
    if (!match) return { kind: "broken", why: `no chunk size: ${JSON.stringify(line.value.slice(0, 80))}` };
    if (match[2] !== "") hasChunkExtensions = true;
    const size = Number.parseInt(match[1] as string, 16);
    if (size === 0) {
      const trailers = readFields(text, line.end);
      if (trailers.kind !== "whole") return trailers;
      const body = { content, trailers: trailers.value, hasChunkExtensions };
      return { kind: "whole", value: body, end: trailers.end };
    }
    at = line.end + size;
    content += text.slice(line.end, at);
    const behind = text.slice(at, at + 2);
    if (!"\r\n".startsWith(behind)) return { kind: "broken", why: "a chunk longer than its size" };
    if (behind.length < 2) return INCOMPLETE;
    at += 2;
  }
}
