import { type CallerRequest, fieldValues } from "../caller-request.ts";
import { type CredentialPlace, invalid, type Outcome } from "./authenticator.ts";

/** Where a credential of one text stands. */
export type CredentialSource =
  | {
      readonly kind: "header";
      /** In lower case. */
      readonly name: string;
      /** What stands before the credential, with a space between; `undefined` for the bare credential. */
      readonly scheme: string | undefined;
    }
  | { readonly kind: "query"; readonly name: string }
  | { readonly kind: "cookie"; readonly name: string };

/** What was found at a source: the one credential, or the answer that there is none to be tried. */
export type Found = { readonly kind: "found"; readonly credential: string } | Outcome;

const ABSENT: Outcome = { kind: "not-mine", reason: "the request has no such credential" };
const EMPTY = invalid("the credential is empty");
const TWICE = invalid("there is more than one credential");

/** Takes the one credential at `source` out of a request. Two at the same place are refused, as nobody knows which is meant. */
export function findCredential({ rawFields, target }: CallerRequest, source: CredentialSource): Found {
  if (source.kind === "header") return credentialIn(fieldValues(rawFields, source.name), source.scheme);
  if (source.kind === "query") return only(queryOf(target).getAll(source.name));
  return only(cookieValues(rawFields, source.name));
}

/** The place of a source, for taking the credential out. */
export function placeOf(source: CredentialSource): CredentialPlace {
  if (source.kind === "header") return { fields: [source.name] };
  return source.kind === "query" ? { query: source.name } : { cookie: source.name };
}

function credentialIn(values: readonly string[], scheme: string | undefined): Found {
  const [value] = values;
  if (value === undefined) return ABSENT;
  if (scheme === undefined) return only(values);
  // Of two fields one may be for another scheme; which of them the backend would take cannot be known.
  if (values.length > 1) return TWICE;
  const [, found = "", rest = ""] = /^([^ \t]*)[ \t]*(.*)$/s.exec(value) as RegExpExecArray;
  // Schemes are compared without regard to case (RFC 9110 §11.1).
  if (found.toLowerCase() !== scheme.toLowerCase())
    return { kind: "not-mine", reason: `the credential is not of the scheme ${scheme}` };
  return only([rest]);
}

function only(values: readonly string[]): Found {
  const [credential] = values;
  if (credential === undefined) return ABSENT;
  if (values.length > 1) return TWICE;
  return credential === "" ? EMPTY : { kind: "found", credential };
}

/** The parameters of the query of a target, decoded (application/x-www-form-urlencoded). */
export function queryOf(target: string): URLSearchParams {
  const start = target.indexOf("?");
  return queryParameters(start === -1 ? "" : target.slice(start + 1));
}

/** The parameters of a query, or of a part of one. URLSearchParams would drop a question mark at its start, and a backend may not. */
export function queryParameters(query: string): URLSearchParams {
  return new URLSearchParams(query.startsWith("?") ? `&${query}` : query);
}

/** The values of a cookie (RFC 6265 §4.2.1); quotes around a value are taken off. */
export function cookieValues(rawFields: readonly string[], name: string): string[] {
  return fieldValues(rawFields, "cookie")
    .flatMap((line) => line.split(";"))
    .flatMap((pair) => {
      const [found, ...rest] = pair.split("=");
      if (rest.length === 0 || found?.trim() !== name) return [];
      return [
        rest
          .join("=")
          .trim()
          .replace(/^"(.*)"$/s, "$1"),
      ];
    });
}
