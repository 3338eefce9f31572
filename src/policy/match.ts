import type { decodePath } from "./path-pattern.ts";
import type { Policy } from "./policy.ts";

/** What a policy is chosen by. */
export interface MatchInput {
  readonly method: string;
  /** Lower-case, without a port; "" where the request names none. */
  readonly host: string;
  /** Decoded, as {@link decodePath} does it. */
  readonly path: string;
}

/** The first policy that matches, or `undefined`. */
export function matchPolicy(policies: readonly Policy[], input: MatchInput): Policy | undefined {
  return policies.find(({ match }) => {
    if (match.methods && !match.methods.includes(input.method)) return false;
    if (match.hosts && !match.hosts.some((pattern) => hostMatches(pattern, input.host))) return false;
    return match.path === undefined || match.path.regexp.test(input.path);
  });
}

function hostMatches(pattern: string, host: string): boolean {
  if (!pattern.startsWith("*.")) return pattern === host;
  return host.length > pattern.length - 1 && host.endsWith(pattern.slice(1));
}
