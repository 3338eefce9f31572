import type { Config } from "./config/config.ts";
import type { RequestFailure } from "./gateway/request-failure.ts";
import type { RequestObserver } from "./gateway/request-record.ts";
import type { IdentityFileEvent } from "./issuer/identity-files/identity-files.ts";
import type { Issuer } from "./issuer/issuer.ts";
import type { KeyEvent } from "./issuer/keys/key-set.ts";
import type { Metric } from "./observability/metric.ts";
import type { TracingEvent } from "./observability/traces.ts";
import type { PolicyEvent } from "./policy-event.ts";
import type { SourceEvent } from "./refresh.ts";

/** What `createSidecar` takes beside its configuration. */
export interface SidecarOptions {
  /** Milliseconds since the epoch. Default: `Date.now`. */
  readonly now?: () => number;
  /** Where `issuer.keys.env` is looked up. Default: `process.env`. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Told of each request that failed for a reason that is not the client's. */
  readonly onFailure?: (failure: RequestFailure) => void;
  /** Told of each request when its response has ended, or its client has left. */
  readonly onRequestEnd?: RequestObserver;
  /** Told of what becomes of the keys, and of what is wrong with them. */
  readonly onKeyEvent?: (event: KeyEvent) => void;
  /** Told of what becomes of the files and the identity providers that policies use. */
  readonly onPolicyEvent?: (event: PolicyEvent) => void;
  /** Told of what becomes of the certificates of listeners. */
  readonly onListenerEvent?: (event: ListenerEvent) => void;
  /** Told of what is wrong with files of `identity.files`, and that it is no more. */
  readonly onIdentityFileEvent?: (event: IdentityFileEvent) => void;
  /** Told of what is wrong with traces, where the variables of OpenTelemetry ask for them. */
  readonly onTracingEvent?: (event: TracingEvent) => void;
  /** How many lines of the log have been dropped, for `/metrics`. Default: none. */
  readonly droppedLogLines?: () => number;
  /** Gives what `/metrics` of the operators' listener answers. Default: the metrics of this sidecar alone. */
  readonly metricsText?: (() => Promise<string>) | undefined;
}

/** Something that happened to what a listener reads again and again. */
export interface ListenerEvent extends SourceEvent {
  /** Its key in the configuration, such as `listen[0].tls`. */
  readonly key: string;
}

/** A sidecar that accepts requests. */
export interface RunningSidecar {
  /** The URL that clients use, such as `http://127.0.0.1:8080`: that of the first listener. */
  readonly url: string;
  /** One of each listener; of a Unix socket `unix:/run/c.sock`. */
  readonly urls: readonly string[];
  /** The URL of the operators' listener; `undefined` where there is none. */
  readonly adminUrl: string | undefined;
  /** As the configuration has it that is in use. */
  readonly issuer: Issuer;
}

/** What became of a configuration that took the place of another one. */
export interface ReloadOutcome {
  /** The one in use: the new one, but for what follows. */
  readonly config: Config;
  /** Its keys that have changed and have no effect before a restart, such as `listen`. */
  readonly needsRestart: readonly string[];
}

/** The whole of Countersign in one object: a listener, an issuer and an upstream. */
export interface Sidecar {
  /**
   * Opens the keys and begins to accept requests.
   *
   * @throws {KeyError} ERR_KEY when a key cannot be used
   * @throws {CountersignError} what {@link openRoutes} throws
   * @throws {ListenError} ERR_LISTEN when the address cannot be listened on
   * @throws {TlsFileError} ERR_LISTEN when a file of `listen.tls` cannot be used
   */
  start(): Promise<RunningSidecar>;
  /**
   * Puts another configuration in the place of the one in use: whole, and between two requests. Those under way end with
   * the one that they began with. What both have in common stays open, such as connections to the same upstream.
   *
   * @param load gives it. Where it throws, or where something of it cannot be opened, the one in use goes on, and `/readyz`
   *   says why
   * @throws {Error} what `load` throws
   * @throws {CountersignError} what {@link Sidecar.start} throws; ERR_NOT_RUNNING when the sidecar does not run
   */
  reload(load: () => Config | Promise<Config>): Promise<ReloadOutcome>;
  /** What was counted, and what is so at this moment; nothing where there is no operators' listener to ask for it. */
  metrics(): readonly Metric[];
  /**
   * Accepts no more requests, lets those under way end (for at most `timeouts.drain`), and closes everything. Until then
   * the operators' listener says that the sidecar is not ready. What is called again waits for the first to end.
   */
  close(options?: CloseOptions): Promise<void>;
}

/** How a sidecar stops. */
export interface CloseOptions {
  /**
   * For how long `/readyz` is 503 before anything else ends, so that no more requests are sent here: a number of seconds.
   * For nothing where there is no operators' listener. Default: 0.
   */
  readonly notReadySeconds?: number;
  /**
   * Another process with the same listeners goes on: the operators' listener closes first, so that none of its probes
   * meets a sidecar that stops. Default: false.
   */
  readonly isReplaced?: boolean;
}
