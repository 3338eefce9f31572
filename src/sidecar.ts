import { setTimeout as sleep } from "node:timers/promises";
import { createAdminHandler } from "./admin/admin-endpoints.ts";
import type { ConfigurationStatus } from "./admin/configuration.ts";
import {
  configurationReadiness,
  keysReadiness,
  type ReadinessSource,
  readinessOf,
  upstreamReadiness,
} from "./admin/readiness.ts";
import type { Config } from "./config/config.ts";
import { keyNeedsOf } from "./config/key-needs.ts";
import { issuerUrlOf, listenerUrlOf, reachableAuthority } from "./config/listener-urls.ts";
import { adoptionOf } from "./config/restart.ts";
import { CountersignError, reasonOf, shielded } from "./errors.ts";
import {
  createRequestHandlers,
  type RequestFailure,
  type RequestHandlers,
} from "./gateway/handle-request.ts";
import { createIssuerEndpoints } from "./gateway/issuer-endpoints.ts";
import { ConnectionLimit } from "./gateway/listen/connection-limit.ts";
import { ListenError } from "./gateway/listen/listen-error.ts";
import type { ListenAddress, ListenOptions } from "./gateway/listen/listen-options.ts";
import { createListener } from "./gateway/listen/listener.ts";
import type { RequestObserver, RequestRecord } from "./gateway/request-record.ts";
import { type Issuer, issuerOver } from "./issuer/issuer.ts";
import type { AdaptableKeys, KeyEvent } from "./issuer/keys/key-set.ts";
import { openKeys, rotationOf } from "./issuer/keys/key-source.ts";
import { createTokens, type Tokens } from "./issuer/tokens.ts";
import type { Metric } from "./observability/metric.ts";
import { SidecarMetrics } from "./observability/metrics.ts";
import { textOf } from "./observability/metrics-text.ts";
import type { Tracing, TracingEvent } from "./observability/traces.ts";
import { openTracing } from "./observability/tracing.ts";
import { deciderOf, type OpenedRoutes, openRoutes, type PolicyEvent } from "./open-routes.ts";
import { JobQueue } from "./refresh.ts";
import { SharedResources } from "./shared-resources.ts";
import type { WatchedFileEvent } from "./watched-files.ts";

/** What {@link createSidecar} takes beside its configuration. */
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
  /** Told of what is wrong with traces, where the variables of OpenTelemetry ask for them. */
  readonly onTracingEvent?: (event: TracingEvent) => void;
  /** Gives what `/metrics` of the operators' listener answers. Default: the metrics of this sidecar alone. */
  readonly metricsText?: (() => Promise<string>) | undefined;
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

/** Nobody waits for the operators' listener for longer than a probe takes. */
const ADMIN_DRAIN_MILLISECONDS = 1000;

/** What requests are answered with, from one configuration. */
interface Service {
  readonly config: Config;
  readonly opened: OpenedRoutes;
  readonly issuer: Issuer;
  readonly handlers: RequestHandlers;
}

/** Puts a sidecar together from a checked configuration. Nothing is opened before `start`. */
export function createSidecar(config: Config, options: SidecarOptions = {}): Sidecar {
  const { now = Date.now, env = process.env } = options;
  const onFailure = shielded(options.onFailure ?? (() => {}));
  // Without a listener to read them at, nothing is counted.
  const metrics = config.admin ? new SidecarMetrics(now) : undefined;
  const onEnd = shielded((record: RequestRecord) => {
    metrics?.addRequest(record);
    options.onRequestEnd?.(record);
  });
  const onPolicyEvent = shielded(options.onPolicyEvent ?? (() => {}));
  const reportKeyEvent = shielded(options.onKeyEvent ?? (() => {}));
  const onListenerEvent = shielded(options.onListenerEvent ?? (() => {}));
  const onTracingEvent = shielded(options.onTracingEvent ?? (() => {}));
  const connectionLimit = new ConnectionLimit(config.limits.connections);
  const listeners = config.listen.map((options, index) =>
    createListener(options, config, {
      connectionLimit,
      onTlsEvent: (event) => onListenerEvent({ key: `listen[${index}].tls`, ...event }),
      onUnreadable: (code) => metrics?.requests.addUnreadable(code),
    }),
  );
  const adminListener =
    config.admin &&
    createListener(config.admin, config, {
      onTlsEvent: (event) => onListenerEvent({ key: "admin.tls", ...event }),
    });
  const resources = new SharedResources();
  const reloads = new JobQueue();
  let keys: AdaptableKeys | undefined;
  let keyProblem: string | undefined;
  let status: Omit<ConfigurationStatus, "describe"> = {
    loadedAt: now(),
    triedAt: now(),
    problem: undefined,
    needsRestart: [],
  };
  let service: Service | undefined;
  /** Puts the parts of a configuration together, once the keys and the address are known. */
  let serviceOf: ((next: Config, opened: OpenedRoutes) => Service) | undefined;
  let tracing: Tracing | undefined;
  let closing: Promise<void> | undefined;
  let isStopping = false;

  function onKeyEvent(event: KeyEvent): void {
    if (event.kind === "problem") keyProblem = event.message;
    if (event.kind === "recovered") keyProblem = undefined;
    reportKeyEvent(event);
  }

  const open = (next: Config) => openRoutes(next, { now, onEvent: onPolicyEvent, resources });

  async function start(): Promise<RunningSidecar> {
    keys = await openKeys(config.issuer.keys, { needs: keyNeedsOf(config), env, now, onEvent: onKeyEvent });
    const opened = await open(config);
    tracing = await openTracing(onTracingEvent);
    // Which port it is, and so the issuer's default URL, is known only once it is open.
    const addresses = [];
    for (const listener of listeners) addresses.push(await listener.listen());
    const [first] = addresses as [ListenAddress];
    const url = issuerUrlOf(config, first);
    const tokens = createTokens({ url, keys, now, observer: metrics?.tokens });
    serviceOf = composer({ url, keys, tokens, listenAuthority: reachableAuthority(first) });
    serve(serviceOf(config, opened));
    const adminUrl = await startAdmin(keys);
    const urls = addresses.map((address, index) =>
      listenerUrlOf(config.listen[index] as ListenOptions, address),
    );
    return {
      url: urls[0] as string,
      urls,
      adminUrl,
      get issuer() {
        return (service as Service).issuer;
      },
    };
  }

  function composer({ url, keys, tokens, listenAuthority }: Foundation) {
    return (next: Config, opened: OpenedRoutes): Service => {
      const issuer = issuerOver(url, keys, tokens, { ...next.issuer, identity: next.identity });
      const issuerEndpoints = createIssuerEndpoints(issuer, next.issuer.basePath);
      const decide = deciderOf(next, { routes: opened.routes, issuer, tokens, listenAuthority });
      const { limits } = next;
      const handlers = createRequestHandlers({
        decide,
        issuerEndpoints,
        connectionLimit,
        limits,
        onFailure,
        onEnd,
        tracer: tracing?.tracer,
      });
      return { config: next, opened, issuer, handlers };
    };
  }

  /** Every request that comes from here on is answered with `next`. */
  function serve(next: Service): void {
    service = next;
    for (const listener of listeners) listener.serve(next.handlers);
    next.opened.startHealthChecks();
  }

  async function reload(load: () => Config | Promise<Config>): Promise<ReloadOutcome> {
    try {
      const loaded = await load();
      const before = running();
      const adoption = adoptionOf(loaded, before.config);
      const opened = await open(adoption.config);
      try {
        await adopt(adoption.config, opened);
      } catch (error) {
        await opened.close();
        throw error;
      }
      void before.handlers.idle().then(before.opened.close);
      const { needsRestart } = adoption;
      status = { loadedAt: now(), triedAt: now(), problem: undefined, needsRestart };
      metrics?.reloads.succeeded();
      return adoption;
    } catch (error) {
      status = { ...status, triedAt: now(), problem: reasonOf(error) };
      metrics?.reloads.failed();
      throw error;
    }
  }

  async function adopt(next: Config, opened: OpenedRoutes): Promise<void> {
    await keys?.adapt({ needs: keyNeedsOf(next), rotation: rotationOf(next.issuer.keys) });
    running();
    if (serviceOf) serve(serviceOf(next, opened));
  }

  /** @throws {CountersignError} ERR_NOT_RUNNING before the start, and after the end has begun */
  function running(): Service {
    if (service && !closing) return service;
    throw new CountersignError("ERR_NOT_RUNNING", "the sidecar does not run");
  }

  /** Before it runs nobody can ask: the operators' listener is the last to open. */
  function lifecycle(): ReturnType<ReadinessSource> {
    return [
      { name: "lifecycle", isReady: !isStopping, reason: isStopping ? "the sidecar is stopping" : undefined },
    ];
  }

  function readMetrics(): readonly Metric[] {
    if (!metrics || !keys || !service) return [];
    const underWay = listeners.map((listener) => listener.underWay());
    return metrics.read({
      keys: {
        keys: keys.status(),
        current: keys.current(),
        needs: keyNeedsOf(service.config),
        hasProblem: keyProblem !== undefined,
      },
      traffic: {
        connections: connectionLimit.count,
        connectionLimit: config.limits.connections,
        requests: underWay.reduce((sum, { requests }) => sum + requests, 0),
        tunnels: underWay.reduce((sum, { tunnels }) => sum + tunnels, 0),
        upstreams: service.opened.upstreamHealth(),
      },
    });
  }

  async function startAdmin(keys: AdaptableKeys): Promise<string | undefined> {
    if (!config.admin || !adminListener) return undefined;
    const current = () => service as Service;
    const readiness = readinessOf([
      lifecycle,
      configurationReadiness(() => status.problem),
      keysReadiness(
        keys,
        () => keyNeedsOf(current().config),
        () => keyProblem,
      ),
      upstreamReadiness(() => current().opened.upstreamHealth()),
    ]);
    const address = await adminListener.listen().catch((error: unknown) => {
      throw error instanceof ListenError ? error.ofAdmin() : error;
    });
    const host = address.kind === "tcp" ? address.host : undefined;
    adminListener.serve({
      request: createAdminHandler({
        issuer: () => current().issuer,
        limits: config.limits,
        readiness,
        configuration: () => ({ ...status, describe: current().config.describe }),
        metrics: options.metricsText ?? (() => textOf([readMetrics()])),
        host,
      }),
    });
    return listenerUrlOf(config.admin, address);
  }

  async function stop({ notReadySeconds = 0, isReplaced = false }: CloseOptions): Promise<void> {
    isStopping = !isReplaced;
    if (isReplaced) await adminListener?.close(ADMIN_DRAIN_MILLISECONDS);
    else if (adminListener) await sleep(notReadySeconds * 1000);
    await end((service?.config ?? config).timeouts.drainSeconds * 1000);
  }

  async function end(drainMilliseconds: number): Promise<void> {
    await Promise.all(listeners.map((listener) => listener.close(drainMilliseconds)));
    await adminListener?.close(ADMIN_DRAIN_MILLISECONDS);
    await tracing?.close();
    await reloads.idle();
    await resources.close();
    await keys?.close();
    metrics?.close();
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
    reload: (load) => reloads.run(() => reload(load)),
    metrics: readMetrics,
    close(closeOptions = {}) {
      closing ??= stop(closeOptions);
      return closing;
    },
  };
}

/** What every configuration of a running sidecar is built on. */
interface Foundation {
  readonly url: string;
  readonly keys: AdaptableKeys;
  readonly tokens: Tokens;
  readonly listenAuthority: string;
}
