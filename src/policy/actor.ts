import type { Claims, JsonValue } from "../issuer/claims-set.ts";

/** A longer chain of actors is a mistake, or an attack. */
export const MAX_ACTORS = 8;

/** Who acts, or acted, for the subject. What else a token says of an actor is not carried on. */
export interface Actor {
  readonly sub: string;
  readonly iss?: string | undefined;
}

/** The actors in a claim `act`. */
export interface ActorChain {
  /** The most recent one first, and no more than {@link MAX_ACTORS}. */
  readonly actors: readonly Actor[];
  /**
   * Whether one that is none ends the chain. What stands inside of it has nobody who vouches for it, and is not carried
   * on either.
   */
  readonly isBroken: boolean;
  /** Whether so many acted that there is no place for another one. */
  readonly isFull: boolean;
}

/** Who acted for a user before, by what the user's own token says. */
export function actorsBefore(claims: Claims): ActorChain {
  const actors: Actor[] = [];
  let act = ownValue(claims, "act");
  while (act !== undefined && actors.length < MAX_ACTORS) {
    const actor = actorOf(act);
    if (!actor) return { actors, isBroken: true, isFull: false };
    actors.push(actor);
    act = ownValue(act as Claims, "act");
  }
  return { actors, isBroken: false, isFull: actors.length === MAX_ACTORS };
}

/**
 * The claim `act` of a token: who acts now, and inside of it those who did so before.
 *
 * @param actors the most recent one first
 * @returns `undefined` where nobody acts
 * @see RFC 8693 §4.1
 */
export function actClaim(actors: readonly Actor[]): JsonValue | undefined {
  return actors.reduceRight<JsonValue | undefined>(
    (inner, { sub, iss }) => ({
      sub,
      ...(iss !== undefined && { iss }),
      ...(inner !== undefined && { act: inner }),
    }),
    undefined,
  );
}

function actorOf(act: JsonValue): Actor | undefined {
  if (typeof act !== "object" || act === null || Array.isArray(act)) return undefined;
  const sub = ownValue(act, "sub");
  const iss = ownValue(act, "iss");
  if (typeof sub !== "string" || sub === "") return undefined;
  return iss === undefined || typeof iss === "string" ? { sub, iss } : undefined;
}

function ownValue(claims: Claims, name: string): JsonValue | undefined {
  return Object.hasOwn(claims, name) ? claims[name] : undefined;
}
