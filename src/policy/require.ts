import type { JsonValue } from "../issuer/claims-set.ts";
import { claimOf } from "./claim-path.ts";
import { scopesOf } from "./scopes.ts";
import type { User } from "./user.ts";

/** What a user must have. All that is there must hold. */
export interface Requirement {
  /** Scopes that the user's `scope` or `scp` must hold, all of them. */
  readonly scopes: readonly string[];
  /** Claims by name or path, each with the values of which it must be, or have, one. */
  readonly claims: readonly { readonly name: string; readonly values: readonly JsonValue[] }[];
  /** Subjects of which the user must be one; any where absent. */
  readonly subjects: readonly string[] | undefined;
  /** Alternatives of which one must hold; none is asked for where this is empty. */
  readonly anyOf: readonly Requirement[];
}

/** What a user lacks. */
export interface Shortfall {
  /** One sentence; it names what is required and never what the user has. */
  readonly detail: string;
  /** The scopes that are required, where one of them is missing (RFC 6750 §3). */
  readonly scopes: readonly string[];
}

/** What `user` lacks of a requirement; `undefined` where it lacks nothing. */
export function shortfallOf(requirement: Requirement, user: User): Shortfall | undefined {
  const { scopes, claims, subjects, anyOf } = requirement;
  const granted = scopes.length === 0 ? [] : scopesOf(user.claims);
  const missing = scopes.filter((scope) => !granted.includes(scope));
  if (missing.length > 0) return { detail: `the scope ${missing.join(" ")} is required`, scopes };
  const unmet = claims.find(({ name, values }) => !holds(claimOf(user, name), values));
  if (unmet) return { detail: `the claim ${unmet.name} has not the required value`, scopes: [] };
  if (subjects && !subjects.includes(user.sub)) return { detail: "this subject is not allowed", scopes: [] };
  if (anyOf.length === 0) return undefined;
  const shortfalls = anyOf.map((alternative) => shortfallOf(alternative, user));
  if (shortfalls.includes(undefined)) return undefined;
  return { detail: shortfalls.map((shortfall) => shortfall?.detail).join("; or "), scopes: [] };
}

/** Whether a claim is one of the values, or a list that has one of them. Of another type is of another value. */
function holds(claim: JsonValue | undefined, values: readonly JsonValue[]): boolean {
  if (Array.isArray(claim)) return claim.some((entry) => values.includes(entry));
  return claim !== undefined && values.includes(claim);
}
