import type { JsonValue } from "../issuer/claims-set.ts";

/** A longer chain is a mistake, or somebody who wants tokens to grow. */
export const MAX_ACTORS = 8;

/**
 * The `act` claim where an actor comes behind those that there are already: the outermost is the latest.
 *
 * @param actor such as `{sub}` or `{sub, iss}`
 * @param prior the `act` claim of the token that the actor came with; of its members only `sub` and `iss` are kept
 * @returns `undefined` where there would be more than {@link MAX_ACTORS}, or where `prior` is none
 * @see RFC 8693 §4.1
 */
export function actorClaim(
  actor: Actor | undefined,
  prior: JsonValue | undefined,
): { readonly act: JsonValue | undefined } | undefined {
  const actors = [...(actor ? [actor] : []), ...(actorsIn(prior) ?? [])];
  if (actorsIn(prior) === undefined || actors.length > MAX_ACTORS) return undefined;
  const act = actors.reduceRight<JsonValue | undefined>(
    (inner, { sub, iss }) => ({
      sub,
      ...(iss !== undefined && { iss }),
      ...(inner !== undefined && { act: inner }),
    }),
    undefined,
  );
  return { act };
}

/** Who acts for a user. */
export interface Actor {
  readonly sub: string;
  readonly iss?: string | undefined;
}

/** The actors of an `act` claim, the latest first; `undefined` where it is none, or has too many. */
function actorsIn(claim: JsonValue | undefined): Actor[] | undefined {
  const actors: Actor[] = [];
  for (let rest = claim; rest !== undefined; ) {
    if (typeof rest !== "object" || rest === null || Array.isArray(rest)) return undefined;
    const { sub, iss, act }: { readonly [name: string]: JsonValue | undefined } = rest;
    const isActor = typeof sub === "string" && (iss === undefined || typeof iss === "string");
    if (!isActor || actors.length === MAX_ACTORS) return undefined;
    actors.push({ sub, iss });
    rest = act;
  }
  return actors;
}
