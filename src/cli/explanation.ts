import type { Config } from "../config/config.ts";
import { type ErrorCode, statusByCode } from "../errors.ts";
import type { Passage, Refused } from "../gateway/decision.ts";
import type { RemovalReason } from "../gateway/fields.ts";
import { NOTHING_BELIEVED, readForwarding, trustedProxiesOf } from "../gateway/forwarded-client.ts";
import { hostOf, parseHost } from "../gateway/host.ts";
import { MAX_TOKEN_BYTES } from "../gateway/request-token.ts";
import { parseTarget } from "../gateway/target.ts";
import { formatUpstream } from "../gateway/upstream/upstream-options.ts";
import type { JsonValue } from "../issuer/claims-set.ts";
import { type MatchInput, mismatchOf } from "../policy/match.ts";
import type { Match } from "../policy/policy.ts";
import type { User } from "../policy/user.ts";
import { type ExplainedClaim, explainClaims, type LeftOutClaim } from "./claim-sources.ts";
import type { ImaginedRequest, Rehearsal } from "./rehearsal.ts";
import type { RehearsalKeys } from "./rehearsal-keys.ts";
import { credentialMask, type Mask } from "./secrets.ts";

/** What becomes of a request and why; `countersign explain --json` prints it. No member is ever absent. */
export interface Explanation {
  readonly request: {
    readonly method: string;
    /** As it is matched: lower-case, without a port. */
    readonly host: string | null;
    /** As it is matched: decoded, without the query. */
    readonly path: string | null;
    readonly from: string;
  };
  /** `issuer`: the sidecar answers it with a document of the issuer. `options`: it answers what itself can do. */
  readonly outcome: "forwarded" | "refused" | "issuer" | "options";
  readonly policy: string | null;
  /** The policies that were looked at before, in order. */
  readonly passedOver: readonly PassedOver[];
  /** What was asked who is calling, in order. */
  readonly answers: readonly ExplainedAnswer[];
  /** `null`: anonymous, or not known. */
  readonly user: User | null;
  readonly removedFields: readonly { readonly name: string; readonly reason: RemovalReason }[];
  /** The parameter of the query that held the credential, and does not go on. */
  readonly removedQueryParameter: string | null;
  readonly token: ExplainedToken | null;
  /** Path and query as they go on. */
  readonly target: string | null;
  readonly upstream: string | null;
  readonly refusal: ExplainedRefusal | null;
  readonly warnings: readonly string[];
}

/** A policy that is not for the request. */
export interface PassedOver {
  readonly policy: string;
  /** The key of its `match` that does not fit. */
  readonly key: keyof Match;
  readonly expected: string;
}

/** What an authenticator said. */
export interface ExplainedAnswer {
  readonly authenticator: string;
  readonly answer: "user" | "not-mine" | "invalid" | "unavailable";
  /** The `sub` of a user. */
  readonly sub: string | null;
  readonly reason: string | null;
  /** What the log would say too. */
  readonly cause: string | null;
}

/** A token that was made, but for itself: it is a credential. */
export interface ExplainedToken {
  readonly headerName: string;
  readonly tokenPrefix: string;
  readonly algorithm: string;
  readonly bytes: number;
  /** Whether the key that signed it is one of the configuration's, and none that was made for the moment. */
  readonly isSignedWithConfiguredKey: boolean;
  /** In the order of the token. */
  readonly claims: readonly ExplainedClaim[];
  readonly leftOut: readonly LeftOutClaim[];
}

/** Why a request goes no further. */
export interface ExplainedRefusal {
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail: string;
  /** What the log would say too. */
  readonly cause: string | null;
}

/** More than this and one long URL or claim may make a request too large for the backend. */
const LARGE_TOKEN_BYTES = 4096;

/** Explains what a rehearsal has shown. */
export function explain(
  config: Config,
  request: ImaginedRequest,
  rehearsal: Rehearsal,
  { madeFor, problem }: Omit<RehearsalKeys, "keys">,
): Explanation {
  const { decision, answers, removedFields } = rehearsal;
  const input = matchInputOf(config, request, rehearsal);
  const passage = decision.kind === "forward" ? decision : undefined;
  const refused = decision.kind === "refused" ? decision : undefined;
  const policy = passage?.route.policy ?? refused?.policy;
  const user = answers.map(({ outcome }) => outcome).find(({ kind }) => kind === "user");
  const mask = credentialMask(config, rehearsal);
  const token = passage && tokenOf(config, passage, madeFor, mask);
  return {
    request: {
      method: request.method,
      host: input?.host ?? null,
      path: input?.path ?? null,
      from: request.from,
    },
    outcome: decision.kind === "forward" ? "forwarded" : decision.kind,
    policy: policy?.name ?? null,
    passedOver:
      input && (policy || refused?.code === "ERR_NO_POLICY") ? passedOver(config, policy?.name, input) : [],
    answers: answers.map(({ authenticator, outcome }) => ({
      authenticator: authenticator.name,
      answer: outcome.kind,
      sub: outcome.kind === "user" ? outcome.user.sub : null,
      reason: outcome.kind === "user" ? null : outcome.reason,
      cause: outcome.kind === "unavailable" ? outcome.cause : null,
    })),
    user: user?.kind === "user" ? user.user : null,
    removedFields: passage ? removedFields : [],
    removedQueryParameter: (passage && removedQueryParameterOf(rehearsal, passage)) ?? null,
    token: token ?? null,
    target: passage ? mask(passage.target) : null,
    upstream: (passage && upstreamOf(config, passage)) ?? null,
    refusal: refused ? refusalOf(refused, mask) : null,
    warnings: [
      ...(token && token.bytes > LARGE_TOKEN_BYTES
        ? [
            `the token has ${token.bytes} bytes; many servers take no more than 8 KiB of fields in all, and over ${MAX_TOKEN_BYTES} bytes it is refused`,
          ]
        : []),
      ...(problem === undefined
        ? []
        : [`the sidecar would not start, as the configured keys cannot be used: ${problem}`]),
    ],
  };
}

/** What the policies were compared with; `undefined` where the request did not come that far. */
function matchInputOf(
  { allowInPath, trustedProxies }: Config,
  { method, from }: ImaginedRequest,
  { requestTarget, rawFields }: Rehearsal,
): MatchInput | undefined {
  const target = parseTarget(requestTarget, allowInPath);
  if (target.kind === "refused") return undefined;
  const host = parseHost(rawFields, "1.1", target.target.authority);
  if (host.kind === "refused") return undefined;
  const trusts = trustedProxiesOf(trustedProxies);
  const client = trusts?.(from) ? readForwarding(rawFields, trusts) : NOTHING_BELIEVED;
  if (client.kind === "refused") return undefined;
  return { method, host: hostOf(client.authority ?? host.authority), path: target.target.decodedPath };
}

function passedOver({ policies }: Config, matched: string | undefined, input: MatchInput): PassedOver[] {
  const end = policies.findIndex(({ name }) => name === matched);
  return policies.slice(0, end === -1 ? undefined : end).flatMap(({ name, match }) => {
    const key = mismatchOf(match, input);
    if (key === undefined) return [];
    const expected = key === "path" ? (match.path?.source ?? "") : (match[key] ?? []).join(", ");
    return [{ policy: name, key, expected }];
  });
}

function removedQueryParameterOf(
  { answers, requestTarget }: Rehearsal,
  { target }: Passage,
): string | undefined {
  const found = answers.find(({ outcome }) => outcome.kind === "user");
  return requestTarget.endsWith(target) ? undefined : found?.authenticator.place.query;
}

function tokenOf(
  config: Config,
  { route: { policy }, token }: Passage,
  madeFor: RehearsalKeys["madeFor"],
  mask: Mask,
): ExplainedToken | undefined {
  const settings = policy.token;
  if (!token || settings === "none") return undefined;
  const { headerName, tokenPrefix, algorithm } = settings;
  const { claims, leftOut } = explainClaims(config, policy.name, settings, token);
  return {
    headerName,
    tokenPrefix,
    algorithm,
    bytes: Buffer.byteLength(token.jwt),
    isSignedWithConfiguredKey: !madeFor.has(algorithm),
    claims: claims.map((claim) => ({ ...claim, value: maskedIn(claim.value, mask) })),
    leftOut,
  };
}

function maskedIn(value: JsonValue, mask: Mask): JsonValue {
  if (typeof value === "string") return mask(value);
  if (Array.isArray(value)) return value.map((item) => maskedIn(item, mask));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, maskedIn(member, mask)]));
}

function refusalOf({ code, detail, cause }: Refused, mask: Mask): ExplainedRefusal {
  return { status: statusByCode[code], code, detail, cause: cause === undefined ? null : mask(cause) };
}

/** The origin of the backend that a request goes on to. */
export function upstreamOf({ policies }: Config, { route }: Passage): string | undefined {
  const upstream = policies.find(({ name }) => name === route.policy.name)?.upstream;
  return upstream && formatUpstream(upstream);
}
