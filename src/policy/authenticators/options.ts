import type { SigningAlgorithm } from "../../issuer/algorithms.ts";
import type { Claims } from "../../issuer/claims-set.ts";
import type { CredentialSource } from "./credential-source.ts";

/** One entry of `authenticators`: checked, complete with every default. */
export type AuthenticatorOptions =
  | ApiKeyOptions
  | JwtOptions
  | BasicOptions
  | ClientCertificateOptions
  | TrustedHeaderOptions;

interface CommonOptions {
  /** Whether the backend sees the credential too. */
  readonly forwardCredential: boolean;
}

/** `type: apiKey` */
export interface ApiKeyOptions extends CommonOptions {
  readonly type: "apiKey";
  readonly source: CredentialSource;
  readonly keys: readonly ApiKey[];
  /** Absolute path of a file with further keys. */
  readonly keysFile: string | undefined;
}

/** One API key, of which only the hash is known. */
export interface ApiKey {
  readonly subject: string;
  /** SHA-256 of the key's text, 64 hexadecimal digits in lower case. */
  readonly sha256: string;
  readonly claims: Claims;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number | undefined;
  readonly disabled: boolean;
}

/** `type: jwt` */
export interface JwtOptions extends CommonOptions {
  readonly type: "jwt";
  readonly source: CredentialSource;
  /** The `iss` of its tokens. */
  readonly issuer: string;
  /** One of them must be in `aud`. */
  readonly audiences: readonly string[];
  readonly algorithms: readonly SigningAlgorithm[];
  readonly keys:
    | { readonly kind: "discovery" }
    | { readonly kind: "jwksUri"; readonly url: string }
    /** Absolute path of a JWK Set. */
    | { readonly kind: "file"; readonly path: string };
  /** Claims that a token must have, beside exp, iss and aud. */
  readonly requiredClaims: readonly string[];
  /** The `typ` that a token must have (RFC 8725 §3.11); `undefined`: JWT, at+jwt or none. */
  readonly typ: string | undefined;
  readonly clockSkewSeconds: number;
  /** The claim that the subject is taken from. */
  readonly subjectClaim: string;
  /** The field that the caller's own token goes to the backend in; `undefined`: none. */
  readonly originalTokenHeader: string | undefined;
}

/** `type: basic` */
export interface BasicOptions extends CommonOptions {
  readonly type: "basic";
  readonly users: readonly BasicUser[];
  /** Absolute path of a file that htpasswd made. */
  readonly htpasswd: string | undefined;
}

/** One user with a password, of which only the hash is known. */
export interface BasicUser {
  readonly username: string;
  /** PHC string: `$scrypt$ln=…,r=…,p=…$salt$hash`, or a bcrypt hash: `$2b$…`. */
  readonly passwordHash: string;
  readonly claims: Claims;
  readonly disabled: boolean;
}

/** The names of a certificate that can be a subject. */
export const CERTIFICATE_NAMES = ["uri", "dns", "email", "commonName"] as const;

/** `type: clientCertificate` */
export interface ClientCertificateOptions extends CommonOptions {
  readonly type: "clientCertificate";
  /** The first name of this kind in the certificate is the subject. */
  readonly subject: (typeof CERTIFICATE_NAMES)[number];
  /** Address ranges of proxies whose `Client-Cert` field (RFC 9440) is believed; `undefined`: the TLS connection counts. */
  readonly from: readonly string[] | undefined;
}

/** `type: trustedHeader` */
export interface TrustedHeaderOptions extends CommonOptions {
  readonly type: "trustedHeader";
  /** The field that holds the subject, in lower case. */
  readonly header: string;
  /** Address ranges of the proxies that are believed. */
  readonly from: readonly string[];
  /** Fields, in lower case, by the claim that each becomes. */
  readonly claims: Readonly<Record<string, string>>;
}
