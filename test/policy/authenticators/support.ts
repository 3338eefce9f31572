import type { AuthenticatorEvent, Surroundings } from "../../../src/policy/authenticators/authenticator.ts";
import type { CallerRequest } from "../../../src/policy/caller-request.ts";

/** A request with these field lines: name, value, name, value, … */
export function requestWith(rawFields: readonly string[], target = "/"): CallerRequest {
  return { rawFields, target, peer: { address: "127.0.0.1", certificate: () => undefined } };
}

/** What an authenticator is opened with: a clock that stands still until it is set, and a record of events. */
export function surroundings() {
  const clock = { now: Date.UTC(2027, 0, 1) };
  const events: AuthenticatorEvent[] = [];
  const given: Surroundings = { now: () => clock.now, onEvent: (event) => events.push(event) };
  return { ...given, clock, events };
}
