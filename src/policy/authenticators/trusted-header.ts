import { fieldValues } from "../caller-request.ts";
import { addressRangesOf } from "./address-ranges.ts";
import { type Authenticator, invalid, type Outcome, REALM } from "./authenticator.ts";
import type { TrustedHeaderOptions } from "./options.ts";

const UNTRUSTED: Outcome = { kind: "not-mine", reason: "the peer is not one that is believed" };
const ABSENT: Outcome = { kind: "not-mine", reason: "the request has no such field" };

/**
 * Believes what a proxy in front says about who is calling. From anybody else the fields do not count, and the request
 * path takes them out.
 */
export function createTrustedHeader(name: string, options: TrustedHeaderOptions): Authenticator {
  const { header, from, claims, forwardCredential } = options;
  const isTrusted = addressRangesOf(from);
  const claimFields = Object.entries(claims);

  return {
    name,
    type: "trustedHeader",
    place: { fields: [header, ...Object.values(claims)] },
    forwardCredential,
    authenticate({ rawFields, peer }) {
      if (!isTrusted(peer.address)) return UNTRUSTED;
      const [subject, second] = fieldValues(rawFields, header);
      if (subject === undefined) return ABSENT;
      if (second !== undefined) return invalid(`there is more than one ${header} field`);
      if (subject === "") return invalid(`the field ${header} is empty`);
      const found: [string, string][] = [];
      for (const [claim, field] of claimFields) {
        const values = fieldValues(rawFields, field);
        if (values.length > 1) return invalid(`there is more than one ${field} field`);
        if (values[0]) found.push([claim, values[0]]);
      }
      return { kind: "user", user: { sub: subject, claims: Object.fromEntries(found) } };
    },
    challenge: () => `FrontProxy realm="${REALM}"`,
    close() {},
  };
}
