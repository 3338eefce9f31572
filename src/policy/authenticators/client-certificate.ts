import { hash, X509Certificate } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Claims } from "../../issuer/claims-set.ts";
import { type CallerRequest, fieldValues, type PeerCertificate } from "../caller-request.ts";
import { addressRangesOf } from "./address-ranges.ts";
import { type Authenticator, invalid, type Outcome, REALM, type Surroundings } from "./authenticator.ts";
import { type CertificateNames, distinguishedName, namesOf } from "./certificate-names.ts";
import type { ClientCertificateOptions } from "./options.ts";

const NOT_SHOWN: Outcome = { kind: "not-mine", reason: "the client showed no certificate" };
const NOT_BELIEVED: Outcome = { kind: "not-mine", reason: "the peer is not one that is believed" };
const NO_FIELD: Outcome = { kind: "not-mine", reason: "the request has no Client-Cert field" };
const UNTRUSTED = invalid("the certificate leads to no CA that is trusted");
const EARLY = invalid("the certificate is not valid yet");
const EXPIRED = invalid("the certificate has expired");
const UNREADABLE_NAME = invalid("the certificate has a name that cannot be used");
const TWICE = invalid("there is more than one Client-Cert field");
const MALFORMED = invalid("the Client-Cert field is not a certificate");

/** The fields of RFC 9440, in lower case. */
const FIELDS = ["client-cert", "client-cert-chain"] as const;

/** Opens an authenticator that knows callers by the certificate that they have proved to own. */
export async function openClientCertificate(
  name: string,
  { subject, from, forwardCredential }: ClientCertificateOptions,
  { now }: Surroundings,
): Promise<Authenticator> {
  const find = from ? inField(from) : inHandshake;
  // What a certificate says never changes, but for whether its time is now.
  const known = new WeakMap<X509Certificate, CertificateFacts>();

  return {
    name,
    type: "clientCertificate",
    place: from ? { fields: FIELDS } : {},
    forwardCredential,
    authenticate(request) {
      const found = find(request);
      if ("kind" in found) return found;
      const { certificate, isTrusted } = found;
      const facts = known.get(certificate) ?? factsOf(certificate, subject);
      known.set(certificate, facts);
      // Also on a connection that was opened when it was valid. Both ends belong to the period (RFC 5280 §4.1.2.5).
      const time = now();
      // A time that cannot be read is not a number, and no comparison with it holds.
      if (!(time >= facts.validFrom)) return EARLY;
      if (!(time <= facts.validTo)) return EXPIRED;
      return isTrusted ? facts.outcome : UNTRUSTED;
    },
    challenge: () => `ClientCertificate realm="${REALM}"`,
    close() {},
  };
}

/** What can be known of a certificate once. */
interface CertificateFacts {
  /** Milliseconds since the epoch. */
  readonly validFrom: number;
  readonly validTo: number;
  /** Of a certificate that is trusted, at a time when it is valid. */
  readonly outcome: Outcome;
}

/** A certificate that a request came with, or the answer where none can be tried. */
type FoundCertificate = PeerCertificate | Outcome;

function inHandshake({ peer }: CallerRequest): FoundCertificate {
  return peer.certificate() ?? NOT_SHOWN;
}

/** So many different clients of a proxy in front are known at once without reading their certificates again. */
const MAX_CERTIFICATES = 1000;

function inField(from: readonly string[]): (request: CallerRequest) => FoundCertificate {
  const isBelieved = addressRangesOf(from);
  const certificates = new LRUCache<string, X509Certificate>({ max: MAX_CERTIFICATES });
  return ({ rawFields, peer }) => {
    if (!isBelieved(peer.address)) return NOT_BELIEVED;
    const [value, second] = fieldValues(rawFields, "client-cert");
    if (value === undefined) return NO_FIELD;
    if (second !== undefined) return TWICE;
    const digest = hash("sha256", value);
    const certificate = certificates.get(digest) ?? parseField(value);
    if (!certificate) return MALFORMED;
    certificates.set(digest, certificate);
    // Whoever is believed has checked the chain, and that the client has the key (RFC 9440 §4).
    return { certificate, isTrusted: true };
  };
}

/** Reads a byte sequence (RFC 9651 §3.3.5) that holds a certificate in DER and nothing more (RFC 9440 §2.1). */
function parseField(value: string): X509Certificate | undefined {
  const [, base64 = ""] = /^:([A-Za-z0-9+/]+={0,2}):$/.exec(value) ?? [];
  const der = Buffer.from(base64, "base64");
  if (der.length === 0 || der.toString("base64") !== base64) return undefined;
  try {
    const certificate = new X509Certificate(der);
    // OpenSSL takes PEM too, and ignores what comes behind a certificate.
    return certificate.raw.equals(der) ? certificate : undefined;
  } catch {
    return undefined;
  }
}

function factsOf(certificate: X509Certificate, kind: ClientCertificateOptions["subject"]): CertificateFacts {
  return {
    validFrom: certificate.validFromDate.getTime(),
    validTo: certificate.validToDate.getTime(),
    outcome: outcomeOf(certificate, kind),
  };
}

function outcomeOf(certificate: X509Certificate, kind: ClientCertificateOptions["subject"]): Outcome {
  const names = namesOf(certificate);
  if (!names) return UNREADABLE_NAME;
  const [sub, second] = names[kind];
  if (!sub) return invalid(`the certificate has no name of the kind ${kind}`);
  // Which of them counts is read differently by different programs; alternative names have an order.
  if (kind === "commonName" && second !== undefined)
    return invalid("the certificate has more than one common name");
  return { kind: "user", user: { sub, claims: claimsOf(certificate, names) } };
}

function claimsOf(certificate: X509Certificate, { commonName, dns, uri, email }: CertificateNames): Claims {
  const lists = Object.entries({ dns, uri, email }).filter(([, list]) => list.length > 0);
  return {
    ...(commonName.length === 1 && { commonName: commonName[0] as string }),
    ...Object.fromEntries(lists),
    serialNumber: certificate.serialNumber,
    fingerprint256: certificate.fingerprint256,
    ...(certificate.issuer && { issuer: distinguishedName(certificate.issuer) }),
  };
}
