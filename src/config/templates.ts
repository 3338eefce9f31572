import type { JsonValue } from "../issuer/claims-set.ts";
import {
  listTemplate,
  mapTemplate,
  type Reference,
  textTemplate,
  type ValueTemplate,
} from "../policy/template.ts";
import type { KeyPath, TemplateParts } from "./document.ts";
import { nearest, type Position } from "./problems.ts";
import type { SidecarFile } from "./schema.ts";
import type { TokenSection } from "./token-section.ts";

const TEMPLATE_KEYS = ["subject", "audience", "actor", "additionalClaims"];

/** Whether a text at this place of `sidecar.yaml` may refer to the request. */
export function takesTemplates(path: KeyPath): boolean {
  if (path[0] === "tokenEndpoint") return path[1] === "additionalClaims";
  const inToken = path[0] === "token" ? path.slice(1) : isPolicyToken(path) ? path.slice(3) : [];
  return TEMPLATE_KEYS.includes(String(inToken[0]));
}

function isPolicyToken(path: KeyPath): boolean {
  return path[0] === "policies" && typeof path[1] === "number" && path[2] === "token";
}

/** Looks up what a text of the file is made of. */
export type TemplateLookup = (path: KeyPath) => TemplateParts | undefined;

/** Compiles a value of the file, whose texts may have references in them. */
export function compileTemplate(value: JsonValue, path: KeyPath, templateAt: TemplateLookup): ValueTemplate {
  if (typeof value === "string") {
    const parts = templateAt(path);
    return parts
      ? textTemplate(
          parts.map((part) => (typeof part === "string" ? part : { fn: part.fn, argument: part.argument })),
        )
      : { kind: "literal", value };
  }
  if (Array.isArray(value))
    return listTemplate(value.map((item, index) => compileTemplate(item, [...path, index], templateAt)));
  if (typeof value !== "object" || value === null) return { kind: "literal", value };
  return mapTemplate(
    Object.entries(value).map(
      ([name, member]) => [name, compileTemplate(member, [...path, name], templateAt)] as const,
    ),
  );
}

/** A reference that leads nowhere, or must not stand where it stands. */
export interface ReferenceProblem {
  readonly path: KeyPath;
  readonly position: Position;
  readonly message: string;
}

/** What is wrong with references that are right in themselves: parameters that no path has, and an `iss` by request. */
export function referenceProblemsOf(
  { token, tokenEndpoint, policies = [] }: SidecarFile,
  templateAt: TemplateLookup,
): ReferenceProblem[] {
  const namesOf = (policy: (typeof policies)[number]) => policy.match.path?.names ?? [];
  return [
    ...problemsIn(token, ["token"], policies.flatMap(namesOf), templateAt),
    ...policies.flatMap((policy, index) =>
      problemsIn(policy.token, ["policies", index, "token"], namesOf(policy), templateAt),
    ),
    ...placesIn(tokenEndpoint?.additionalClaims, ["tokenEndpoint", "additionalClaims"]).flatMap((path) =>
      (templateAt(path) ?? []).flatMap((part) =>
        typeof part === "string" || part.fn === "user"
          ? []
          : [{ path, position: part.position, message: ONLY_OF_USER }],
      ),
    ),
  ];
}

const ONLY_OF_USER = "expected $user(…) or $env(…): no request is forwarded here that could be told of";

function problemsIn(
  section: TokenSection | "none" | undefined,
  path: KeyPath,
  params: readonly string[],
  templateAt: TemplateLookup,
): ReferenceProblem[] {
  if (section === undefined || section === "none") return [];
  const { subject, audience, actor, additionalClaims } = section;
  const places = placesIn({ subject, audience, actor, additionalClaims }, path);
  return places.flatMap((place) => {
    const isIssuer = place.length === path.length + 2 && place.at(-1) === "iss";
    const isActor = place.at(path.length) === "actor";
    return (templateAt(place) ?? []).flatMap((part) => {
      if (typeof part === "string") return [];
      const message = isIssuer
        ? "expected a fixed text: whoever sends a request must not choose the issuer of its token"
        : isActor && part.fn !== "user"
          ? "expected $user(iss), another claim of the user, or a fixed text: whoever sends a request must not choose through whom it came"
          : problemOf(part, params);
      return message === undefined ? [] : [{ path: place, position: part.position, message }];
    });
  });
}

function problemOf({ fn, argument }: Reference, params: readonly string[]): string | undefined {
  if (fn !== "param" || params.includes(argument)) return undefined;
  const meant = nearest(argument, params);
  const hint = meant
    ? `did you mean $param(${meant})?`
    : params.length === 0
      ? "name it there, as in /orders/:id"
      : `there are ${params.join(", ")}`;
  return `match.path has no parameter ${argument}; ${hint}`;
}

/** The way to every text in a value. */
function placesIn(value: unknown, path: KeyPath): KeyPath[] {
  if (typeof value === "string") return [path];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, member]) =>
    placesIn(member, [...path, Array.isArray(value) ? Number(name) : name]),
  );
}
