import type { IssuerKeys } from "../../issuer/keys/key-set.ts";
import type { SourceEvent } from "../../refresh.ts";
import type { CallerRequest } from "../caller-request.ts";
import type { User } from "../user.ts";

/** What an authenticator says of a request. */
export type Outcome =
  | {
      readonly kind: "user";
      readonly user: User;
      /** The caller's own token, for `originalTokenHeader`. */
      readonly originalToken?: string;
    }
  /** There is no such credential, or one for somebody else. */
  | { readonly kind: "not-mine"; readonly reason: string }
  /** There is one, and it is not good. */
  | { readonly kind: "invalid"; readonly reason: string }
  /** Whether it is good cannot be known now. */
  | {
      readonly kind: "unavailable";
      readonly reason: string;
      /** For the log only. */
      readonly cause: string;
    };

/** The answer to a credential that is not good. */
export function invalid(reason: string): Outcome {
  return { kind: "invalid", reason };
}

/** Where a credential stands in a request, so that it can be taken out. */
export interface CredentialPlace {
  /** Names of fields, in lower case. */
  readonly fields?: readonly string[];
  /** The name of a parameter of the query. */
  readonly query?: string;
  /** The name of a cookie. */
  readonly cookie?: string;
}

/** One way to find out who is calling. */
export interface Authenticator {
  /** Its key under `authenticators`. */
  readonly name: string;
  readonly type: AuthenticatorType;
  readonly place: CredentialPlace;
  /** Whether the backend sees the credential too. */
  readonly forwardCredential: boolean;
  /** The field that the caller's own token goes into, in the spelling that goes on the wire; `undefined`: none. */
  readonly originalTokenHeader?: string | undefined;
  /** Says who is calling. It never throws, and answers at once where nothing has to be waited for. */
  authenticate(request: CallerRequest): Outcome | Promise<Outcome>;
  /**
   * Says whether this is the secret of an OAuth client (RFC 6749 §2.3.1). It is as quick, and never throws, as
   * {@link authenticate}; absent where the kind knows no secrets.
   *
   * @param clientId the subject
   */
  checkSecret?(clientId: string, clientSecret: string): Outcome | Promise<Outcome>;
  /** Says whose a token is that came in no field of a request, likewise; absent where the kind knows no tokens. */
  checkToken?(token: string): Outcome | Promise<Outcome>;
  /**
   * What a caller without a good credential is told to come back with (RFC 9110 §11.6.1).
   *
   * @param invalidReason why its credential is not good; `undefined` where it showed none
   */
  challenge(invalidReason: string | undefined): string;
  /** Stops watching files and fetching keys. */
  close(): void;
}

/** The values of `authenticators.*.type`. */
export const AUTHENTICATOR_TYPES = ["apiKey", "jwt", "basic", "clientCertificate", "trustedHeader"] as const;
export type AuthenticatorType = (typeof AUTHENTICATOR_TYPES)[number];

/**
 * A reason as OAuth takes it for a description: without quotes, backslashes and everything outside of ASCII.
 *
 * @see RFC 6749 §5.2, RFC 6750 §3
 */
export function describable(reason: string): string {
  return reason.replaceAll(/[^\x20\x21\x23-\x5b\x5d-\x7e]/g, "'");
}

/** The realm of every challenge (RFC 9110 §11.5). */
export const REALM = "countersign";

/** The issuer of this very process. */
export interface OwnIssuer {
  readonly url: string;
  readonly keys: Pick<IssuerKeys, "current">;
}

/** What every authenticator is opened with. */
export interface Surroundings {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** The issuer here, whose keys need not be fetched. Default: there is none. */
  readonly own?: OwnIssuer | undefined;
  /** Told of what is wrong with a file or an identity provider. */
  readonly onEvent: (event: AuthenticatorEvent) => void;
}

/** What became of something that an authenticator reads again and again. */
export interface AuthenticatorEvent extends SourceEvent {
  /** The key under `authenticators`. */
  readonly authenticator: string;
}
