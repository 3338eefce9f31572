import type { decodePath } from "./path-pattern.ts";
import type { Match, Policy } from "./policy.ts";

/** What a policy is chosen by. */
export interface MatchInput {
  readonly method: string;
  /** Lower-case, without a port; "" where the request names none. */
  readonly host: string;
  /** Decoded, as {@link decodePath} does it. */
  readonly path: string;
}

/** Why a policy is not for a request; `undefined` where it is. */
export function mismatchOf({ methods, hosts, path }: Match, input: MatchInput): keyof Match | undefined {
  if (methods && !methods.includes(input.method)) return "methods";
  if (hosts && !hosts.some((pattern) => hostMatches(pattern, input.host))) return "hosts";
  return path === undefined || path.regexp.test(input.path) ? undefined : "path";
}

function hostMatches(pattern: string, host: string): boolean {
  if (!pattern.startsWith("*.")) return pattern === host;
  return host.length > pattern.length - 1 && host.endsWith(pattern.slice(1));
}

/** Finds the first policy that matches, or `undefined`. */
export type Matcher<T> = (input: MatchInput) => T | undefined;

/** A segment of paths, and the policies that may match a path which goes no further into this tree. */
interface Branch<T> {
  readonly candidates: T[];
  readonly branches: Map<string, Branch<T>>;
}

/**
 * Prepares policies for matching. Most patterns begin with segments that are fixed; a request is compared only with those
 * whose fixed segments its path has, however many others there are.
 *
 * @param routes in order; the first match wins
 */
export function createMatcher<T extends { readonly policy: Policy }>(routes: readonly T[]): Matcher<T> {
  const root: Branch<T> = { candidates: [], branches: new Map() };
  // The tree first, so that every branch gets the policies of those above it in their order.
  for (const { policy } of routes) grow(root, policy.match);
  for (const route of routes) addBelow(grow(root, route.policy.match), route);

  return (input) => {
    let branch = root;
    let start = 1;
    while (branch.branches.size > 0 && start <= input.path.length) {
      const slash = input.path.indexOf("/", start);
      const end = slash === -1 ? input.path.length : slash;
      const next = branch.branches.get(input.path.slice(start, end));
      if (!next) break;
      branch = next;
      start = end + 1;
    }
    return branch.candidates.find(({ policy }) => mismatchOf(policy.match, input) === undefined);
  };
}

/** The branch of a pattern's fixed segments. */
function grow<T>(root: Branch<T>, { path }: Match): Branch<T> {
  let branch = root;
  for (const segment of path?.fixedSegments ?? []) {
    let next = branch.branches.get(segment);
    if (!next) {
      next = { candidates: [], branches: new Map() };
      branch.branches.set(segment, next);
    }
    branch = next;
  }
  return branch;
}

function addBelow<T>(branch: Branch<T>, route: T): void {
  branch.candidates.push(route);
  for (const below of branch.branches.values()) addBelow(below, route);
}
