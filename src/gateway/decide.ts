import type { Issuer } from "../issuer/issuer.ts";
import type { Tokens } from "../issuer/tokens.ts";
import { actorsBefore, MAX_ACTORS } from "../policy/actor.ts";
import { type Authentication, authenticate } from "../policy/authenticate.ts";
import { createMatcher } from "../policy/match.ts";
import { shortfallOf } from "../policy/require.ts";
import { type TokenOverrides, tokenRequestOf } from "../policy/token-request.ts";
import {
  credentialMissing,
  credentialProblem,
  forbidden,
  removalOf,
  withoutQueryParameter,
} from "./credential.ts";
import type { Decision, DecisionRecord, ReceivedRequest, Refused, Route } from "./decision.ts";
import { type FieldRule, type RemovalReason, upstreamRequestFields } from "./fields.ts";
import {
  forwardedForOf,
  forwardedOf,
  HOST_AMBIGUOUS,
  NOTHING_BELIEVED,
  readForwarding,
  shownAddress,
  type TrustedProxies,
} from "./forwarded-client.ts";
import { hostOf, parseHost } from "./host.ts";
import { countForward, maxForwardsOf } from "./max-forwards.ts";
import { moduleInputOf } from "./module-input.ts";
import { RequestContext } from "./request-facts.ts";
import { tokenFieldValue, tokenFor } from "./request-token.ts";
import { asksAboutServer } from "./server-options.ts";
import { type Ambiguity, parseTarget } from "./target.ts";
import { isLoop, type ViaPseudonyms } from "./via.ts";

/** What requests are decided by. */
export interface DeciderOptions {
  readonly routes: readonly Route[];
  /** Whether a path is one of the issuer's own. */
  readonly isIssuerPath: (decodedPath: string) => boolean;
  readonly tokens: Tokens;
  /** For the modules of policies. */
  readonly signJwt: Issuer["signJwt"];
  /** What only some peers may send, and what only Countersign sets, by canonical field name. */
  readonly fieldRules: ReadonlyMap<string, FieldRule>;
  readonly allowInPath: readonly Ambiguity[];
  /** Whose word about the client counts; `undefined`: nobody's. */
  readonly trustedProxies: TrustedProxies | undefined;
  /** Scheme, authority and path prefix that request URLs are built from; by default the request's own authority. */
  readonly publicUrl: string | undefined;
  /** The authority of the listener, for an HTTP/1.0 request that names no host. */
  readonly listenAuthority: string;
  /** What this deployment is called in `Via` now. */
  readonly viaPseudonyms: () => ViaPseudonyms;
  /** Told of each field that does not go on, and why; for explanations. */
  readonly onFieldRemoved?: ((name: string, reason: RemovalReason) => void) | undefined;
}

/** Decides about a request; at once where nothing has to be waited for. */
export type Decider = (request: ReceivedRequest, record?: DecisionRecord) => Decision | Promise<Decision>;

/** Creates the function that takes each request through the stages, in order, up to where it is forwarded. */
export function createDecider(options: DeciderOptions): Decider {
  const { isIssuerPath, tokens, signJwt, fieldRules, allowInPath } = options;
  const { trustedProxies, publicUrl, listenAuthority, viaPseudonyms, onFieldRemoved } = options;
  const match = createMatcher(options.routes);

  return function decide(request, record) {
    const { method, requestTarget, rawFields, httpVersion, requestId, peer, hasBody } = request;

    // The target, and whom it is for.
    const isAboutServer = asksAboutServer(method, requestTarget);
    const parsed = parseTarget(isAboutServer && requestTarget === "*" ? "/" : requestTarget, allowInPath);
    if (parsed.kind === "refused") return parsed;
    const { originForm, decodedPath, lenientPath } = parsed.target;
    const parsedHost = parseHost(rawFields, httpVersion, parsed.target.authority);
    if (parsedHost.kind === "refused") return parsedHost;
    const receivedAuthority = parsedHost.authority;

    // The client behind a trusted proxy.
    const told = trustedProxies?.(peer.address)
      ? readForwarding(rawFields, trustedProxies)
      : NOTHING_BELIEVED;
    if (told.kind === "refused") return told;
    const client = told;
    const scheme = client.scheme ?? request.scheme;
    const authority = client.authority ?? receivedAuthority;
    const clientAddress = client.address ?? shownAddress(peer.address);
    const host = hostOf(authority);
    if (record) record.clientAddress = clientAddress;

    // What is not to go further.
    const maxForwards = maxForwardsOf(method, rawFields);
    if (isAboutServer || (maxForwards === 0 && method === "OPTIONS")) return { kind: "options" };
    if (maxForwards === 0) return LAST_TRACE;

    // The issuer's own documents, which are read however many clients are connected.
    const isForIssuer = isIssuerPath(decodedPath) || isIssuerPath(lenientPath);
    if (request.isBeyondLimit && !(isForIssuer && method !== "POST")) return OVERLOADED;
    if (isForIssuer) return { kind: "issuer", path: decodedPath };

    // What has been here before: found before anything is worked out for it.
    if (isLoop(rawFields, viaPseudonyms)) return LOOP;

    // Match a policy.
    const matched = match({ method, host, path: decodedPath });
    if (lenientPath !== decodedPath && match({ method, host, path: lenientPath }) !== matched)
      return AMBIGUOUS;
    if (!matched) return NO_POLICY;
    const route = matched;
    const { policy, authenticators, module } = route;
    if (record) record.policy = policy;
    // The backend may choose by the Host that it sees: with another policy for that one, a client whose proxy passes its
    // X-Forwarded-Host on would get past it.
    if (client.authority !== undefined && receivedAuthority !== undefined && route.preserveHost) {
      const receivedHost = hostOf(receivedAuthority);
      const isOther = (path: string) => match({ method, host: receivedHost, path }) !== route;
      if (host !== receivedHost && (isOther(decodedPath) || isOther(lenientPath)))
        return { ...HOST_AMBIGUOUS, policy };
    }
    if (method === "TRACE" && policy.token !== "none") return { ...NO_TRACE, policy };

    // Authenticate.
    return whenKnown(
      authenticate(authenticators, policy.allowsAnonymous, { rawFields, target: originForm, peer }),
      authorise,
    );

    function authorise(authentication: Authentication): Decision | Promise<Decision> {
      if (record) {
        record.authentication = authentication;
        record.authenticatedAt = performance.now();
      }
      const problem = credentialProblem(authentication, authenticators);
      if (problem) return { ...problem, policy };
      const user = authentication.kind === "user" ? authentication.user : undefined;

      // Require.
      if (policy.require) {
        // Whoever showed no credential may come back with one.
        if (!user) return { ...credentialMissing(authenticators), policy };
        const shortfall = shortfallOf(policy.require, user);
        if (shortfall) return { ...forbidden(shortfall, authenticators), policy };
      }
      if (user && policy.token !== "none" && policy.token.actor && actorsBefore(user.claims).isFull)
        return { ...TOO_MANY_ACTORS, policy };

      // Sanitise: strip, then remove the credential and every token field.
      const removal = removalOf(authentication);
      const target = withoutQueryParameter(originForm, removal.credentialQuery);
      const fields = upstreamRequestFields(
        rawFields,
        {
          peerAddress: peer.address,
          forwardedFor: forwardedForOf(client, peer.address),
          forwarded: forwardedOf(client, peer.address, request.scheme, receivedAuthority),
          scheme,
          authority,
          receivedAuthority,
          httpVersion,
          requestId,
          pseudonym: viaPseudonyms().own,
          preserveHost: route.preserveHost,
          hasBody,
        },
        { rules: fieldRules, ...removal },
        onFieldRemoved,
      );
      if (authentication.kind === "user" && authentication.originalToken !== undefined)
        fields.push(authentication.authenticator.originalTokenHeader as string, authentication.originalToken);

      if (maxForwards !== undefined) countForward(fields, maxForwards);

      // The claims set: by the module of the policy, and its templates.
      const context = new RequestContext(
        {
          method,
          scheme,
          authority: authority ?? listenAuthority,
          host,
          publicUrl,
          target,
          decodedPath,
          pathPattern: policy.match.path,
          requestId,
          clientAddress,
          fields,
        },
        user,
      );
      if (!module) return claim({});
      const input = moduleInputOf(context, fields, policy, signJwt);
      return module.decide(input).then((outcome) => {
        if (outcome.kind === "denied")
          return { kind: "refused", code: "ERR_DENIED", detail: outcome.detail, policy };
        if (outcome.kind === "failed") return { ...MODULE_FAILED, cause: outcome.cause, policy };
        return claim(outcome.overrides);
      });

      // The token: at once where it was made before, else when it is signed. Then its field.
      function claim(overrides: TokenOverrides): Decision | Promise<Decision> {
        if (policy.token === "none")
          return { kind: "forward", route, user, target, fields, token: undefined };
        const settings = policy.token;
        const tokenRequest = tokenRequestOf(settings, context, overrides);
        return whenKnown(tokenFor(tokens, tokenRequest), (outcome): Decision => {
          if (record) {
            record.tokenRequest = tokenRequest;
            record.tokenAt = performance.now();
          }
          if (outcome.kind === "refused") return { ...outcome, policy };
          const { jwt } = outcome;
          if (record) record.jwt = jwt;
          fields.push(settings.headerName, tokenFieldValue(settings, jwt));
          return {
            kind: "forward",
            route,
            user,
            target,
            fields,
            token: { jwt, request: tokenRequest, overrides, context },
          };
        });
      }
    }
  };
}

/** Goes on with a value, now or when it is there: what can be known at once costs no promise. */
function whenKnown<T, U>(value: T | Promise<T>, goOn: (value: T) => U | Promise<U>): U | Promise<U> {
  return value instanceof Promise ? value.then(goOn) : goOn(value);
}

const OVERLOADED: Refused = {
  kind: "refused",
  code: "ERR_OVERLOADED",
  isOfConnection: true,
  detail: "too many clients are connected",
  fields: { "retry-after": "1" },
};
const LOOP: Refused = {
  kind: "refused",
  code: "ERR_LOOP_DETECTED",
  detail: "Via says that this request has been here before: it goes in a circle",
};
const AMBIGUOUS: Refused = {
  kind: "refused",
  code: "ERR_TARGET_AMBIGUOUS",
  detail: "the path may be read as one that another policy is for",
};
const NO_POLICY: Refused = {
  kind: "refused",
  code: "ERR_NO_POLICY",
  detail: "no policy matches this request",
};
const NO_TRACE: Refused = {
  kind: "refused",
  code: "ERR_METHOD_NOT_ALLOWED",
  detail: "TRACE would show the token to the client",
};
const LAST_TRACE: Refused = {
  kind: "refused",
  code: "ERR_METHOD_NOT_ALLOWED",
  detail: "this sidecar shows nobody what it received, and Max-Forwards lets the request go no further",
};
const TOO_MANY_ACTORS: Refused = {
  kind: "refused",
  code: "ERR_ACTORS_TOO_MANY",
  detail: `the caller's token has ${MAX_ACTORS} actors in its claim act already, and none can be added`,
};
const MODULE_FAILED: Refused = {
  kind: "refused",
  code: "ERR_MODULE_FAILED",
  detail: "the policy's own code could not decide about this request",
};
