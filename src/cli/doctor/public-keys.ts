import type { PublicJwk } from "../../issuer/keys/signing-key.ts";
import type { KeyRow } from "../key-table.ts";
import type { LiveKeys } from "../live-keys.ts";
import { COPY_REMEDY, type Finding, fail, ok, warn } from "./finding.ts";

const CHECK = "public keys";

/**
 * Compares the JWK Set that verifiers see with the keys of the configuration: those that will sign or have signed are
 * looked for, and those that nobody has are named.
 *
 * @param isTried whether a token of the key with this kid has been tried, which says more
 */
export function checkPublicKeys(
  document: Readonly<Record<string, unknown>>,
  { set, rows, ring }: LiveKeys,
  isTried: (kid: string) => boolean,
): Finding[] {
  // What is wrong with one that is no list has been told.
  if (!Array.isArray(document.keys)) return [];
  const shown = new Map(
    document.keys.map((key: { readonly kid?: unknown } | null) => [key?.kid, key as Partial<PublicJwk>]),
  );
  const live = new Map(set.published.map((jwk) => [jwk.kid, jwk]));
  const expected = rows.filter(({ kid }) => live.has(kid) && !isTried(kid));
  const withdrawn = ring?.withdrawn ?? [];
  return [
    ...expected.map((row) => checkKey(row, live.get(row.kid), shown.get(row.kid))),
    ...[...shown.keys()]
      .filter((kid): kid is string => typeof kid === "string" && !live.has(kid))
      .map((kid) => describeStranger(kid, withdrawn.includes(kid))),
  ];
}

function checkKey(row: KeyRow, live: PublicJwk | undefined, shown: Partial<PublicJwk> | undefined): Finding {
  const { kid, algorithm, state, activatesAt } = row;
  const name = `${algorithm} key ${kid}`;
  const isSame = Object.entries(live ?? {}).every(([member, value]) => shown?.[member] === value);
  if (shown && isSame) return ok(CHECK, `${name}, which is ${state}, is in the public JWK Set`);
  const problem = shown ? "is another one in the public JWK Set" : "is not in the public JWK Set";
  const deadline = state === "pending" && activatesAt !== null ? `before ${activatesAt}: ` : "";
  return fail(
    CHECK,
    `${name} ${problem}; it is ${state}: ${effectOf(row)}`,
    `${deadline}where the sidecar itself answers there, see in its log why it lacks the key; on a static host: ${COPY_REMEDY}`,
  );
}

/** What a verifier that does not know a key refuses. */
function effectOf({ state, activatesAt, goneAt, next }: KeyRow): string {
  if (state === "pending" && activatesAt !== null)
    return `it signs from ${activatesAt}, and verifiers refuse its tokens then`;
  if (state === "retiring") return `its tokens may be valid until ${goneAt}, and verifiers refuse them now`;
  if (state === "pending") return `it ${next}, and verifiers refuse its tokens then`;
  return "verifiers refuse its tokens";
}

function describeStranger(kid: string, isWithdrawn: boolean): Finding {
  if (isWithdrawn)
    return fail(
      CHECK,
      `key ${kid} is in the public JWK Set, and was withdrawn (keys rotate --emergency, keys retire --now): verifiers accept what it signs`,
      `a sidecar that runs follows within a minute; on a static host, at once: ${COPY_REMEDY}; then empty the caches in front`,
    );
  return warn(
    CHECK,
    `key ${kid} is in the public JWK Set, and not among the keys of the configuration`,
    `where no other sidecar of this issuer has it, the set is an old one: ${COPY_REMEDY}`,
  );
}
