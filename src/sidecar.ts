import { setTimeout as sleep } from "node:timers/promises";
import { createAdminHandler } from "./admin/admin-endpoints.ts";
import { keysReadiness, type ReadinessSource, readinessOf, upstreamReadiness } from "./admin/readiness.ts";
import type { Config } from "./config/config.ts";
import { keyNeedsOf } from "./config/key-needs.ts";
import { issuerUrlOf, listenerUrlOf, reachableAuthority } from "./config/listener-urls.ts";
import { shielded } from "./errors.ts";
import { createRequestHandlers, type RequestFailure } from "./gateway/handle-request.ts";
import { createIssuerEndpoints } from "./gateway/issuer-endpoints.ts";
import { ConnectionLimit } from "./gateway/listen/connection-limit.ts";
import type { ListenAddress, ListenOptions } from "./gateway/listen/listen-options.ts";
import { createListener } from "./gateway/listen/listener.ts";
import { type Issuer, issuerOver } from "./issuer/issuer.ts";
import type { IssuerKeys, KeyEvent } from "./issuer/keys/key-set.ts";
import { openKeys } from "./issuer/keys/key-source.ts";
import { createTokens } from "./issuer/tokens.ts";
import { deciderOf, type OpenedRoutes, openRoutes, type PolicyEvent } from "./open-routes.ts";
import type { WatchedFileEvent } from "./watched-files.ts";

/** What {@link createSidecar} takes beside its configuration. */
export interface SidecarOptions {
  /** Milliseconds since the epoch. Default: `Date.now`. */
  readonly now?: () => number;
  /** Where `issuer.keys.env` is looked up. Default: `process.env`. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Told of each request that failed for a reason that is not the client's. */
  readonly onFailure?: (failure: RequestFailure) => void;
  /** Told of what becomes of the keys, and of what is wrong with them. */
  readonly onKeyEvent?: (event: KeyEvent) => void;
  /** Told of what becomes of the files and the identity providers that policies use. */
  readonly onPolicyEvent?: (event: PolicyEvent) => void;
  /** Told of what becomes of the certificates of listeners. */
  readonly onListenerEvent?: (event: ListenerEvent) => void;
}

/** Something that happened to what a listener reads again and again. */
export interface ListenerEvent extends WatchedFileEvent {
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
  readonly issuer: Issuer;
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

/** Nobody waits for the operators' listener for longer than a probe takes. */
const ADMIN_DRAIN_MILLISECONDS = 1000;

/** Puts a sidecar together from a checked configuration. Nothing is opened before `start`. */
export function createSidecar(config: Config, options: SidecarOptions = {}): Sidecar {
  const { now = Date.now, env = process.env } = options;
  const onFailure = shielded(options.onFailure ?? (() => {}));
  const reportKeyEvent = shielded(options.onKeyEvent ?? (() => {}));
  const onListenerEvent = shielded(options.onListenerEvent ?? (() => {}));
  const connectionLimit = new ConnectionLimit(config.limits.connections);
  const listeners = config.listen.map((options, index) =>
    createListener(options, config, {
      connectionLimit,
      onTlsEvent: (event) => onListenerEvent({ key: `listen[${index}].tls`, ...event }),
    }),
  );
  const adminListener =
    config.admin &&
    createListener(config.admin, config, {
      onTlsEvent: (event) => onListenerEvent({ key: "admin.tls", ...event }),
    });
  let keys: IssuerKeys | undefined;
  let keyProblem: string | undefined;
  let opened: OpenedRoutes | undefined;
  let closing: Promise<void> | undefined;
  let isStopping = false;

  function onEvent(event: KeyEvent): void {
    if (event.kind === "problem") keyProblem = event.message;
    if (event.kind === "recovered") keyProblem = undefined;
    reportKeyEvent(event);
  }

  async function start(): Promise<RunningSidecar> {
    const needs = keyNeedsOf(config);
    keys = await openKeys(config.issuer.keys, { needs, env, now, onEvent });
    opened = await openRoutes(config, { now, onEvent: shielded(options.onPolicyEvent ?? (() => {})) });
    // Which port it is, and so the issuer's default URL, is known only once it is open.
    const addresses = [];
    for (const listener of listeners) addresses.push(await listener.listen());
    const [first] = addresses as [ListenAddress];
    const listenAuthority = reachableAuthority(first);
    const url = issuerUrlOf(config, first);
    const tokens = createTokens({ url, keys, now });
    const issuer = issuerOver(url, keys, tokens, { ...config.issuer, identity: config.identity });
    const issuerEndpoints = createIssuerEndpoints(issuer, config.issuer.basePath);
    const decide = deciderOf(config, { routes: opened.routes, issuer, tokens, listenAuthority });
    const { limits } = config;
    const handlers = createRequestHandlers({ decide, issuerEndpoints, connectionLimit, limits, onFailure });
    for (const listener of listeners) listener.serve(handlers);
    opened.startHealthChecks();
    const readiness = readinessOf([
      lifecycle,
      keysReadiness(keys, needs, () => keyProblem),
      upstreamReadiness(opened.upstreamHealth),
    ]);
    const adminUrl = await startAdmin(issuer, readiness);
    const urls = addresses.map((address, index) =>
      listenerUrlOf(config.listen[index] as ListenOptions, address),
    );
    return { url: urls[0] as string, urls, adminUrl, issuer };
  }

  /** Before it runs nobody can ask: the operators' listener is the last to open. */
  function lifecycle(): ReturnType<ReadinessSource> {
    return [
      { name: "lifecycle", isReady: !isStopping, reason: isStopping ? "the sidecar is stopping" : undefined },
    ];
  }

  async function startAdmin(issuer: Issuer, readiness: ReadinessSource): Promise<string | undefined> {
    if (!config.admin || !adminListener) return undefined;
    const address = await adminListener.listen();
    const host = address.kind === "tcp" ? address.host : undefined;
    adminListener.serve({
      request: createAdminHandler({ issuer, limits: config.limits, readiness, host }),
    });
    return listenerUrlOf(config.admin, address);
  }

  async function stop({ notReadySeconds = 0, isReplaced = false }: CloseOptions): Promise<void> {
    isStopping = !isReplaced;
    if (isReplaced) await adminListener?.close(ADMIN_DRAIN_MILLISECONDS);
    else if (adminListener) await sleep(notReadySeconds * 1000);
    await end(config.timeouts.drainSeconds * 1000);
  }

  async function end(drainMilliseconds: number): Promise<void> {
    await Promise.all(listeners.map((listener) => listener.close(drainMilliseconds)));
    await adminListener?.close(ADMIN_DRAIN_MILLISECONDS);
    await opened?.close();
    await keys?.close();
  }

  return {
    async start() {
      try {
        return await start();
      } catch (error) {
        // Nothing is under way that could be answered.
        closing ??= end(0);
        await closing;
        throw error;
      }
    },
    close(closeOptions = {}) {
      closing ??= stop(closeOptions);
      return closing;
    },
  };
}
