import { setTimeout as sleep } from "node:timers/promises";
import { createAdminHandler } from "./admin/admin-endpoints.ts";
import type { ConfigurationStatus } from "./admin/configuration.ts";
import {
  clockReadiness,
  configurationReadiness,
  identityFilesReadiness,
  keysReadiness,
  type ReadinessSource,
  readinessOf,
  startingReadiness,
  upstreamReadiness,
} from "./admin/readiness.ts";
import type { Config } from "./config/config.ts";
import { keyNeedsOf } from "./config/key-needs.ts";
import { issuerUrlOf, listenerUrlOf, reachableAuthority } from "./config/listener-urls.ts";
import { adoptionOf } from "./config/restart.ts";
import { CountersignError, messageOf, shielded } from "./errors.ts";
import { ConnectionLimit } from "./gateway/listen/connection-limit.ts";
import { ListenError } from "./gateway/listen/listen-error.ts";
import type { ListenAddress, ListenOptions } from "./gateway/listen/listen-options.ts";
import { createListener } from "./gateway/listen/listener.ts";
import type { RequestRecord } from "./gateway/request-record.ts";
import { createAttempts } from "./gateway/token-endpoint/attempts.ts";
import type { IdentityFile } from "./issuer/identity-files/identity-file.ts";
import { type IdentityFiles, openIdentityFiles } from "./issuer/identity-files/identity-files.ts";
import type { AdaptableKeys, KeyEvent } from "./issuer/keys/key-set.ts";
import { demandsOf, openKeys } from "./issuer/keys/key-source.ts";
import { createTokens } from "./issuer/tokens.ts";
import type { Metric } from "./observability/metric.ts";
import { SidecarMetrics } from "./observability/metrics.ts";
import { textOf } from "./observability/metrics-text.ts";
import type { Tracing } from "./observability/traces.ts";
import { openTracing } from "./observability/tracing.ts";
import { type OpenedRoutes, openRoutes } from "./open-routes.ts";
import { JobQueue } from "./refresh.ts";
import { createService, type Foundation, type Service } from "./service.ts";
import { SharedResources } from "./shared-resources.ts";
import type { CloseOptions, ReloadOutcome, RunningSidecar, Sidecar, SidecarOptions } from "./sidecar-api.ts";

/** Nobody waits for the operators' listener for longer than a probe takes. */
const ADMIN_DRAIN_MILLISECONDS = 1000;

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
  const onIdentityFileEvent = shielded(options.onIdentityFileEvent ?? (() => {}));
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
  let identityFiles: IdentityFiles | undefined;
  let status: Omit<ConfigurationStatus, "describe"> = {
    loadedAt: now(),
    triedAt: now(),
    problem: undefined,
    needsRestart: [],
  };
  let service: Service | undefined;
  let foundation: Foundation | undefined;
  let tracing: Tracing | undefined;
  let admin: Promise<string | undefined> | undefined;
  let starting: Promise<RunningSidecar> | undefined;
  let closing: Promise<void> | undefined;
  let isStopping = false;
  const waiting = new AbortController();

  function onKeyEvent(event: KeyEvent): void {
    if (event.kind === "problem" || event.kind === "waiting") keyProblem = event.message;
    if (event.kind === "recovered") keyProblem = undefined;
    reportKeyEvent(event);
  }

  const open = (next: Config) =>
    openRoutes(next, {
      ...{ now, onEvent: onPolicyEvent, resources },
      own: keys && { url: issuerUrlOf(config), keys },
    });

  async function start(): Promise<RunningSidecar> {
    // Whoever waits for a store of keys says so meanwhile.
    if (config.issuer.keys.kind === "redis") await openAdmin();
    keys = await openKeys(config.issuer.keys, {
      ...{ needs: keyNeedsOf(config), env, now, onEvent: onKeyEvent },
      signal: waiting.signal,
    });
    waiting.signal.throwIfAborted();
    const opened = await open(config);
    tracing = await openTracing(onTracingEvent);
    // Which port it is, and so the issuer's default URL, is known only once it is open.
    const addresses = [];
    for (const listener of listeners) addresses.push(await listener.listen());
    const [first] = addresses as [ListenAddress];
    const url = issuerUrlOf(config, first);
    const tokens = createTokens({ url, keys, now, observer: metrics?.tokens });
    foundation = {
      ...{ url, keys, tokens, now, connectionLimit, onFailure, onEnd },
      attempts: createAttempts(now),
      listenAuthority: reachableAuthority(first),
      tracer: tracing?.tracer,
    };
    serve(createService(config, opened, foundation));
    // Whoever uses the first token finds the keys for it.
    identityFiles = openIdentityFiles({ url, keys, tokens, now, onEvent: onIdentityFileEvent });
    await identityFiles.adapt(identityFilesOf(config));
    const adminUrl = await openAdmin();
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
      status = { ...status, triedAt: now(), problem: messageOf(error) };
      metrics?.reloads.failed();
      throw error;
    }
  }

  async function adopt(next: Config, opened: OpenedRoutes): Promise<void> {
    await keys?.adapt(demandsOf(next.issuer.keys, keyNeedsOf(next)));
    running();
    if (foundation) serve(createService(next, opened, foundation));
    await identityFiles?.adapt(identityFilesOf(next));
  }

  /** @throws {CountersignError} ERR_NOT_RUNNING before the start, and after the end has begun */
  function running(): Service {
    if (service && !closing) return service;
    throw new CountersignError("ERR_NOT_RUNNING", "the sidecar does not run");
  }

  function lifecycle(): ReturnType<ReadinessSource> {
    const reason = isStopping ? "the sidecar is stopping" : service ? undefined : "the sidecar is starting";
    return [{ name: "lifecycle", isReady: reason === undefined, reason }];
  }

  /** What is there of it so far: the operators' listener may be the first to open. */
  function readiness(): ReturnType<ReadinessSource> {
    const problem = () => keyProblem;
    const needs = () => keyNeedsOf(service?.config ?? config);
    return readinessOf([
      lifecycle,
      configurationReadiness(() => status.problem),
      ...(keys ? [keysReadiness(keys, needs, problem), clockReadiness(keys)] : [startingReadiness(problem)]),
      ...(identityFiles ? [identityFilesReadiness(identityFiles.status, now)] : []),
      upstreamReadiness(() => service?.opened.upstreamHealth() ?? []),
    ])();
  }

  function readMetrics(): readonly Metric[] {
    if (!metrics || !keys || !identityFiles || !service) return [];
    const underWay = listeners.map((listener) => listener.underWay());
    return metrics.read({
      keys: {
        keys: keys.status(),
        current: keys.current(),
        needs: keyNeedsOf(service.config),
        hasProblem: keyProblem !== undefined,
        sharing: keys.sharing(),
      },
      identityFiles: { files: identityFiles.status(), writes: identityFiles.writes() },
      traffic: {
        connections: connectionLimit.count,
        connectionLimit: config.limits.connections,
        requests: underWay.reduce((sum, { requests }) => sum + requests, 0),
        tunnels: underWay.reduce((sum, { tunnels }) => sum + tunnels, 0),
        upstreams: service.opened.upstreamHealth(),
      },
      droppedLogLines: options.droppedLogLines?.() ?? 0,
    });
  }

  function openAdmin(): Promise<string | undefined> {
    admin ??= startAdmin();
    return admin;
  }

  async function startAdmin(): Promise<string | undefined> {
    if (!config.admin || !adminListener) return undefined;
    const address = await adminListener.listen().catch((error: unknown) => {
      throw error instanceof ListenError ? error.ofAdmin() : error;
    });
    const host = address.kind === "tcp" ? address.host : undefined;
    adminListener.serve({
      request: createAdminHandler({
        issuer: () => service?.issuer,
        limits: config.limits,
        readiness,
        configuration: () => ({ ...status, describe: (service?.config ?? config).describe }),
        metrics: options.metricsText ?? (() => textOf([readMetrics()])),
        host,
      }),
    });
    return listenerUrlOf(config.admin, address);
  }

  async function stop({ notReadySeconds = 0, isReplaced = false }: CloseOptions): Promise<void> {
    isStopping = !isReplaced;
    // What it opens is closed, and not left behind.
    await starting?.catch(() => {});
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
    await identityFiles?.close();
    await keys?.close();
    metrics?.close();
  }

  return {
    async start() {
      try {
        starting = start();
        return await starting;
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
      waiting.abort();
      closing ??= stop(closeOptions);
      return closing;
    },
  };
}

/** They are for programs beside the sidecar, and beside an issuer alone there are none. */
function identityFilesOf({ identity, issuerOnly }: Config): readonly IdentityFile[] {
  return issuerOnly ? [] : (identity?.files ?? []);
}
