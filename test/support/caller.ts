import type {
  Authenticator,
  AuthenticatorEvent,
  Outcome,
  OwnIssuer,
} from "../../src/policy/authenticators/authenticator.ts";
import { type JwtInternals, openJwt } from "../../src/policy/authenticators/jwt.ts";
import type { JwtOptions } from "../../src/policy/authenticators/options.ts";
import type { CallerRequest } from "../../src/policy/caller-request.ts";
import { TEST_AUDIENCE } from "./identity-provider.ts";

/** A request with these field lines, from a peer without a certificate. */
export function callerRequest(fields: Readonly<Record<string, string>> = {}, target = "/"): CallerRequest {
  return {
    rawFields: Object.entries(fields).flat(),
    target,
    peer: { address: "127.0.0.1", certificate: () => undefined },
  };
}

/** A request with a token in `Authorization: Bearer`. */
export function callerWith(token: string): CallerRequest {
  return callerRequest({ Authorization: `Bearer ${token}` });
}

/** A clock that stands still until it is told otherwise. */
export interface TestClock {
  /** Milliseconds since the epoch. */
  now(): number;
  pass(seconds: number): void;
}

/** Creates a clock; without a time it shows the same at each start. */
export function createTestClock(start = Date.UTC(2027, 0, 15, 12)): TestClock {
  let time = start;
  return {
    now: () => time,
    pass(seconds) {
      time += seconds * 1000;
    },
  };
}

/** An authenticator of type jwt, opened by itself. */
export interface TestJwtAuthenticator extends Disposable {
  readonly authenticator: Authenticator;
  readonly events: AuthenticatorEvent[];
  /** What it says of a token. */
  ask(token: string): Promise<Outcome>;
}

/** Opens an authenticator for RS256 and ES256 tokens of `issuer`. */
export async function openTestJwt(
  issuer: string,
  clock: TestClock,
  options: Partial<JwtOptions> = {},
  internals: JwtInternals = {},
  own?: OwnIssuer,
): Promise<TestJwtAuthenticator> {
  const events: AuthenticatorEvent[] = [];
  const complete: JwtOptions = {
    type: "jwt",
    source: { kind: "header", name: "authorization", scheme: "Bearer" },
    issuer,
    audiences: [TEST_AUDIENCE],
    algorithms: ["RS256", "ES256"],
    keys: { kind: "discovery" },
    requiredClaims: [],
    typ: undefined,
    clockSkewSeconds: 60,
    subjectClaim: "sub",
    originalTokenHeader: undefined,
    forwardCredential: false,
    ...options,
  };
  const surroundings = { now: clock.now, own, onEvent: (event: AuthenticatorEvent) => events.push(event) };
  const authenticator = await openJwt("login", complete, surroundings, internals);
  return {
    authenticator,
    events,
    ask: async (token) => authenticator.authenticate(callerWith(token)),
    [Symbol.dispose]: () => authenticator.close(),
  };
}
