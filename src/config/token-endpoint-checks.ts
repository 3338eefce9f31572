import { normalized } from "../policy/authenticators/basic-credentials.ts";
import { ANONYMOUS } from "./authenticators/sections.ts";
import type { CrossProblem } from "./cross-checks.ts";
import { nearest } from "./problems.ts";
import { CLIENT_TYPES, TOKEN_TYPES } from "./token-endpoint-section.ts";
import { listOf, mapOf } from "./unchecked.ts";

/**
 * What is wrong between `tokenEndpoint` and `authenticators`.
 *
 * @param file as it was read, and so of any shape
 */
export function tokenEndpointProblemsOf(file: unknown): CrossProblem[] {
  const { tokenEndpoint, authenticators } = mapOf(file);
  if (tokenEndpoint === undefined) return [];
  const { authenticate, publicClients } = mapOf(tokenEndpoint);
  const sections = mapOf(authenticators);
  const problems: CrossProblem[] = [];
  const seen = new Set<unknown>();
  const types = new Set<unknown>();
  for (const [index, name] of listOf(authenticate).entries()) {
    if (typeof name !== "string") continue;
    const { type } = mapOf(sections[name]);
    const message = seen.has(name)
      ? "stands here twice; keep one"
      : nameProblem(name, type, Object.keys(sections));
    if (message !== undefined) problems.push({ path: ["tokenEndpoint", "authenticate", index], message });
    seen.add(name);
    types.add(type);
  }
  if (problems.length > 0 || types.size === 0) return problems;
  const hasPublicClients = listOf(publicClients).length > 0;
  if (!hasPublicClients && !CLIENT_TYPES.some((type) => types.has(type)))
    problems.push({
      path: ["tokenEndpoint", "authenticate"],
      message:
        "knows no client: name an authenticator of the type apiKey or basic too, or list clients without a secret under publicClients",
    });
  if (hasPublicClients && !TOKEN_TYPES.some((type) => types.has(type)))
    problems.push({
      path: ["tokenEndpoint", "publicClients"],
      message: "they can only exchange tokens: name an authenticator of the type jwt under authenticate",
    });
  const withSecret = new Set([...seen].flatMap((name) => namesIn(sections[name as string])));
  for (const [index, clientId] of listOf(publicClients).entries())
    if (typeof clientId === "string" && withSecret.has(normalized(clientId)))
      problems.push({
        path: ["tokenEndpoint", "publicClients", index],
        message: "a client of this name has a secret: nobody could tell the two apart; choose another",
      });
  return problems;
}

function nameProblem(name: string, type: unknown, names: readonly string[]): string | undefined {
  if (name === ANONYMOUS) return "clients have to be known; list those without a secret under publicClients";
  if (!names.includes(name)) {
    const meant = nearest(name, names);
    return `no authenticator has this name; ${meant ? `did you mean ${meant}?` : `there are ${names.join(", ") || "none"}`}`;
  }
  // What is wrong with the type itself is said where it stands.
  if (typeof type !== "string" || [...CLIENT_TYPES, ...TOKEN_TYPES].includes(type)) return undefined;
  return `expected an authenticator of the type ${CLIENT_TYPES.join(", ")} or ${TOKEN_TYPES.join(", ")}: one of the type ${type} knows requests alone`;
}

/** Who is known by a secret that stands in the file itself. */
function namesIn(authenticator: unknown): string[] {
  const { keys, users } = mapOf(authenticator);
  return [...listOf(keys), ...listOf(users)].flatMap((entry) => {
    const { subject, username } = mapOf(entry);
    return [subject, username].filter((name) => typeof name === "string").map(normalized);
  });
}
