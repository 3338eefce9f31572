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

/** A policy, and how many stand before it. */
interface Placed<T> {
  readonly route: T;
  readonly position: number;
}

/** A segment of paths, and the policies that may match a path which goes no further into this tree, in their order. */
interface Branch<T> {
  /** Of those that are for some hosts alone, by host. */
  readonly ofHost: Map<string, Placed<T>[]>;
  /** The others. */
  readonly ofAnyHost: Placed<T>[];
  readonly branches: Map<string, Branch<T>>;
}

/**
 * Prepares policies for matching. Most patterns begin with segments that are fixed, and most hosts are names; a request is
 * compared only with those whose fixed segments its path has, and which are for its host, however many others there are.
 *
 * @param routes in order; the first match wins
 */
export function createMatcher<T extends { readonly policy: Policy }>(routes: readonly T[]): Matcher<T> {
  const root: Branch<T> = newBranch();
  // The tree first, so that every branch gets the policies of those above it in their order.
  for (const { policy } of routes) grow(root, policy.match);
  for (const [position, route] of routes.entries()) {
    const { match } = route.policy;
    addBelow(grow(root, match), { route, position }, namesOf(match));
  }

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
    return firstMatch(branch.ofHost.get(input.host) ?? NONE, branch.ofAnyHost, input);
  };
}

const NONE: readonly never[] = [];

/** The first that matches of two lists, each in order. */
function firstMatch<T extends { readonly policy: Policy }>(
  some: readonly Placed<T>[],
  others: readonly Placed<T>[],
  input: MatchInput,
): T | undefined {
  let i = 0;
  let j = 0;
  while (i < some.length || j < others.length) {
    const one = some[i];
    const other = others[j];
    const next = !other || (one && one.position < other.position) ? one : other;
    if (next === one) i++;
    else j++;
    if (next && mismatchOf(next.route.policy.match, input) === undefined) return next.route;
  }
  return undefined;
}

/** The hosts that a policy is for, where all of them are names. */
function namesOf({ hosts }: Match): readonly string[] | undefined {
  return hosts?.some((pattern) => pattern.startsWith("*.")) ? undefined : hosts;
}

function newBranch<T>(): Branch<T> {
  return { ofHost: new Map(), ofAnyHost: [], branches: new Map() };
}

/** The branch of a pattern's fixed segments. */
function grow<T>(root: Branch<T>, { path }: Match): Branch<T> {
  let branch = root;
  for (const segment of path?.fixedSegments ?? []) {
    let next = branch.branches.get(segment);
    if (!next) {
      next = newBranch();
      branch.branches.set(segment, next);
    }
    branch = next;
  }
  return branch;
}

function addBelow<T>(branch: Branch<T>, placed: Placed<T>, hosts: readonly string[] | undefined): void {
  if (!hosts) branch.ofAnyHost.push(placed);
  for (const host of new Set(hosts)) {
    const ofHost = branch.ofHost.get(host) ?? [];
    ofHost.push(placed);
    branch.ofHost.set(host, ofHost);
  }
  for (const below of branch.branches.values()) addBelow(below, placed, hosts);
}
