import type { TokenRequest } from "../issuer/claims-set.ts";
import type { Authenticator } from "../policy/authenticators/authenticator.ts";
import type { Peer } from "../policy/caller-request.ts";
import type { PolicyModule } from "../policy/module.ts";
import type { Policy } from "../policy/policy.ts";
import type { TemplateContext } from "../policy/template.ts";
import type { TokenOverrides } from "../policy/token-request.ts";
import type { User } from "../policy/user.ts";
import type { RawFields } from "./fields.ts";
import type { Refusal } from "./problem.ts";
import type { RequestRecord } from "./request-record.ts";
import type { Upstream } from "./upstream/upstream.ts";

/** A request as it was received, without its body. */
export interface ReceivedRequest {
  readonly method: string;
  /** The request target, as the request line has it. */
  readonly requestTarget: string;
  /** Such as "1.1". */
  readonly httpVersion: string;
  readonly rawFields: readonly string[];
  readonly hasBody: boolean;
  readonly requestId: string;
  readonly peer: Peer;
  /** Whether it came on a connection above the limit: only the issuer's documents are served there. */
  readonly isBeyondLimit?: boolean;
  /** Of the connection that it came on. */
  readonly scheme: "http" | "https";
}

/** A policy, with what has been opened for it. */
export interface Route {
  readonly policy: Policy;
  /** In the order in which they are asked. */
  readonly authenticators: readonly Authenticator[];
  readonly module: PolicyModule | undefined;
  readonly upstream: Upstream;
  readonly preserveHost: boolean;
}

/** A request that may go on. */
export interface Passage {
  readonly kind: "forward";
  readonly route: Route;
  readonly user: User | undefined;
  /** Origin-form: path and query. */
  readonly target: string;
  /** With the token, where the policy sends one. */
  readonly fields: RawFields;
  /** What the token says; `undefined` where there is none. */
  readonly token:
    | {
        readonly jwt: string;
        readonly request: TokenRequest;
        readonly overrides: TokenOverrides;
        /** What its templates were looked up in. */
        readonly context: TemplateContext;
      }
    | undefined;
}

/** A request that may not. */
export interface Refused extends Refusal {
  /** For the log only; given where the refusal is not the client's fault. */
  readonly cause?: string | undefined;
  /** The policy that matched, where the request came that far. */
  readonly policy?: Policy | undefined;
}

/** What becomes of a request. */
export type Decision =
  | Passage
  | Refused
  /** It is for the issuer's own documents. */
  | { readonly kind: "issuer"; readonly path: string }
  /** It asks what the sidecar can do. */
  | { readonly kind: "options" };

/** The part of a record that is filled while it is decided about a request. */
export type DecisionRecord = Pick<
  RequestRecord,
  "clientAddress" | "policy" | "authentication" | "authenticatedAt" | "tokenRequest" | "tokenAt" | "jwt"
>;
