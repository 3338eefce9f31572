import type { ClientTimeouts, Limits } from "../gateway/limits.ts";
import type { ListenOptions } from "../gateway/listen/listen-options.ts";
import type { Ambiguity } from "../gateway/target.ts";
import type { TokenEndpointOptions } from "../gateway/token-endpoint/options.ts";
import type { UpstreamOptions } from "../gateway/upstream/upstream-options.ts";
import type { SigningAlgorithm } from "../issuer/algorithms.ts";
import type { IdentityFile } from "../issuer/identity-files/identity-file.ts";
import type { Identity } from "../issuer/issuer.ts";
import type { KeySource } from "../issuer/keys/key-source.ts";
import type { LogOptions } from "../observability/log-options.ts";
import type { AuthenticatorOptions } from "../policy/authenticators/options.ts";
import type { ModuleOptions } from "../policy/module.ts";
import type { Policy, TokenSettings } from "../policy/policy.ts";

/** A whole configuration: checked, complete with every default, and frozen. Durations are in seconds. */
export interface Config {
  /** At least one. The first is the one that URLs are made from. */
  readonly listen: readonly [ListenOptions, ...ListenOptions[]];
  /** The operators' listener; `undefined`: there is none. */
  readonly admin: ListenOptions | undefined;
  readonly upstream: UpstreamOptions;
  /** Scheme, authority and path prefix without a slash at the end. */
  readonly publicUrl: string | undefined;
  /** CIDR ranges, and `unix` for whoever connects to a Unix socket. */
  readonly trustedProxies: readonly string[];
  readonly allowInPath: readonly Ambiguity[];
  readonly limits: Limits;
  readonly timeouts: ClientTimeouts & {
    /** How long /readyz says that the sidecar stops, before it does. */
    readonly notReadySeconds: number;
    /** How long requests under way may take to end. */
    readonly drainSeconds: number;
  };
  /** Processes that answer requests. */
  readonly workers: number | "auto";
  readonly issuer: {
    /** `undefined`: the listener's own URL and `basePath`. */
    readonly url: string | undefined;
    readonly basePath: string;
    readonly algorithm: SigningAlgorithm;
    /** For tokens that no policy shapes. */
    readonly expiresInSeconds: number;
    readonly jwksMaxAgeSeconds: number;
    readonly keys: KeySource;
  };
  readonly identity:
    | (Identity & {
        /** Kept fresh on disk; no two have the same path. */
        readonly files: readonly IdentityFile[];
      })
    | undefined;
  /** `undefined`: there is none. */
  readonly tokenEndpoint: TokenEndpointOptions | undefined;
  readonly log: LogOptions;
  /** The settings that policies start from. */
  readonly token: TokenSettings;
  /** By name. */
  readonly authenticators: Readonly<Record<string, AuthenticatorOptions>>;
  /** In order; the first match wins. */
  readonly policies: readonly PolicyConfig[];
  /** Nothing is forwarded: of the policies only the keys are needed that they sign with. The file cannot say it. */
  readonly issuerOnly: boolean;
  /** What people may be shown of it: JSON with the keys of the file, every default, and no secret. */
  readonly describe: () => unknown;
}

/** A policy, and what has to be opened for it. */
export interface PolicyConfig extends Policy {
  readonly upstream: UpstreamOptions;
  readonly module: ModuleOptions | undefined;
}
