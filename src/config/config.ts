import type { ListenAddress, ListenerTimeouts, ListenOptions } from "../gateway/listener.ts";
import type { Ambiguity } from "../gateway/target.ts";
import type { UpstreamOptions } from "../gateway/upstream.ts";
import type { SigningAlgorithm } from "../issuer/algorithms.ts";
import type { Identity } from "../issuer/issuer.ts";
import type { KeySource } from "../issuer/keys/key-source.ts";
import type { AuthenticatorOptions } from "../policy/authenticators/options.ts";
import type { ModuleOptions } from "../policy/module.ts";
import type { Policy, TokenSettings } from "../policy/policy.ts";

/** A whole configuration: checked, complete with every default, and frozen. Durations are in seconds. */
export interface Config {
  readonly listen: ListenOptions;
  /** The operators' listener; `undefined`: there is none. */
  readonly admin: ListenAddress | undefined;
  readonly upstream: UpstreamOptions;
  /** Scheme, authority and path prefix without a slash at the end. */
  readonly publicUrl: string | undefined;
  readonly allowInPath: readonly Ambiguity[];
  readonly timeouts: ListenerTimeouts & { readonly drainSeconds: number };
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
  readonly identity: Identity | undefined;
  /** The settings that policies start from. */
  readonly token: TokenSettings;
  /** By name. */
  readonly authenticators: Readonly<Record<string, AuthenticatorOptions>>;
  /** In order; the first match wins. */
  readonly policies: readonly PolicyConfig[];
}

/** A policy, and what has to be opened for it. */
export interface PolicyConfig extends Policy {
  readonly upstream: UpstreamOptions;
  readonly module: ModuleOptions | undefined;
}
