/** Values of `sidecar.yaml` that are parts of HTTP messages, or patterns for them. */

import { canonicalFieldName } from "../gateway/field-names.ts";
import { compilePathPattern, type PathPattern } from "../policy/path-pattern.ts";
import { text } from "./values.ts";

/** A token (RFC 9110 §5.6.2). */
export const FIELD_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;

const NOT_FOR_A_TOKEN =
  /^(?:host|content-.*|transfer-encoding|connection|keep-alive|proxy-connection|proxy-authorization|te|trailer|upgrade|expect|via|http2-settings|forwarded|date|x-forwarded-.*|x-request-id|x-real-ip|cookie|accept|accept-.*|user-agent|range|if-.*|origin|referer|traceparent|tracestate|baggage)$/;

/** The name of the field that carries the token. */
export const headerName = text('expected a field name such as "Authorization"', (value) => {
  if (!FIELD_NAME.test(value))
    return { expected: 'expected a field name such as "Authorization": letters, digits and hyphens' };
  // Every spelling of this name is taken out of a request, so Content_Length would take out Content-Length.
  if (NOT_FOR_A_TOKEN.test(canonicalFieldName(value)))
    return { expected: "expected another field name: this one has a meaning that the token would destroy" };
  return { value };
}).meta({ title: "header name" });

/** What stands before the token. */
export const tokenPrefix = text('expected a prefix such as "Bearer", or "" for none', (value) => {
  if (/^[\x21-\x7e]+(?: [\x21-\x7e]+)*$|^$/.test(value)) return { value };
  return { expected: "expected visible ASCII characters, without a space at either end" };
});

/** A pattern for paths. */
export const pathPattern = text<PathPattern>('expected a pattern such as "/orders/:id"', (value) => {
  if (!value.startsWith("/"))
    return { expected: 'expected a pattern that begins with "/", such as "/orders/:id"' };
  if (value.includes("?"))
    return { expected: "expected a pattern of the path alone: a query cannot be matched" };
  const unmatchable = unmatchablePart(value);
  if (unmatchable) return { expected: `expected a pattern that a request can match: ${unmatchable}` };
  try {
    return { value: compilePathPattern(value) };
  } catch (error) {
    const reason = (error as Error).message.replace(/; visit .*$/s, "").replace(/: \/.*$/s, "");
    return {
      expected: `expected a pattern such as "/orders/:id" or "/files/*rest": ${reason}`,
    };
  }
}).meta({ title: "pattern" });

/** What a path never holds when it is compared, because it was refused or taken out before. */
function unmatchablePart(pattern: string): string | undefined {
  if (pattern.includes("//"))
    return "an empty segment (//) is refused, or taken out where allowInPath lists it";
  if (pattern.includes(";"))
    return "a path parameter (;) is refused, or taken out where allowInPath lists it; an encoded semicolon is %3B";
  const segments = pattern.replaceAll(/[{}\\]/g, "").split("/");
  if (segments.some((segment) => /^(?:\.|%2e){1,2}$/i.test(segment)))
    return "a path with a . or .. segment is always refused";
  return undefined;
}

/** A request method (RFC 9110 §9.1). */
export const method = text("expected a method such as GET", (value) => {
  if (/^[A-Z][A-Z0-9_-]*$/.test(value)) return { value };
  const upperCase = value.toUpperCase();
  const hint = /^[A-Z]+$/.test(upperCase) ? `; methods are case-sensitive: did you mean ${upperCase}?` : "";
  return { expected: `expected a method such as GET${hint}` };
}).meta({ title: "method" });

/** A host name to match, in lower case. */
export const hostPattern = text(
  'expected a host name such as "api.example.com" or "*.example.com"',
  (value) => {
    const host = value.toLowerCase().replace(/\.$/, "");
    if (/^(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$|^\[[0-9a-f:.]+\]$/.test(host)) return { value: host };
    const port = /:\d+$/.test(host) ? "; ports are not compared: leave the port out" : "";
    return { expected: `expected a host name such as "api.example.com" or "*.example.com"${port}` };
  },
).meta({ title: "host name" });

/** A path that can be asked for, with a query or without. */
export const originFormPath = text('expected a path such as "/healthz"', (value) =>
  /^\/[\x21-\x22\x24-\x7e]*$/.test(value) && !value.startsWith("//")
    ? { value }
    : { expected: 'expected a path such as "/healthz"' },
).meta({ title: "path" });

/** The path that the issuer's endpoints stand under. */
export const basePath = text('expected a path such as "/__issuer"', (value) => {
  if (/^(?:\/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*)+$/.test(value)) return { value };
  return {
    expected:
      value === "/"
        ? "expected a path below /: everything under it is answered by the issuer and never forwarded"
        : 'expected a path such as "/__issuer": plain segments, no slash at its end',
  };
}).meta({ title: "path" });
