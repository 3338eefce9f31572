import { readApiKeys } from "./config/authenticators/api-key.ts";
import type { Config, PolicyConfig } from "./config/config.ts";
import { createDecider, type Decider, type DeciderOptions, type Route } from "./gateway/decide.ts";
import { canonicalFieldName, type FieldRule } from "./gateway/fields.ts";
import { trustedProxiesOf } from "./gateway/forwarded-client.ts";
import { issuerPathTest } from "./gateway/issuer-endpoints.ts";
import type { OriginHealth } from "./gateway/upstream/health-check.ts";
import { openUpstream, type Upstream } from "./gateway/upstream/upstream.ts";
import type { Issuer } from "./issuer/issuer.ts";
import type { Tokens } from "./issuer/tokens.ts";
import { addressRangesOf } from "./policy/authenticators/address-ranges.ts";
import type { Authenticator } from "./policy/authenticators/authenticator.ts";
import { openAuthenticators } from "./policy/authenticators/open.ts";
import { openModule, type PolicyModule } from "./policy/module.ts";
import type { WatchedFileEvent } from "./watched-files.ts";

/** Something that happened to what policies read again and again. */
export interface PolicyEvent extends WatchedFileEvent {
  /** Its key in the configuration, such as `authenticators.login` or `policies.orders.module`. */
  readonly key: string;
}

/** What {@link openRoutes} needs. */
export interface OpenRoutesOptions {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly onEvent: (event: PolicyEvent) => void;
  /** Puts something around each authenticator, for whoever has to know what it answers. */
  readonly around?: (authenticator: Authenticator) => Authenticator;
}

/** Everything that the policies of a configuration use, opened. */
export interface OpenedRoutes {
  readonly routes: readonly Route[];
  /** Begins to ask the backends how they are, where that is configured. */
  startHealthChecks(): void;
  /** How the backends are that are asked. */
  upstreamHealth(): readonly OriginHealth[];
  /** Stops watching files, and ends every connection to an upstream. */
  close(): Promise<void>;
}

/**
 * Opens the authenticators, modules and upstreams of a configuration. No connection is made before the first request.
 *
 * @throws {ConfigError} ERR_CONFIG when a file of API keys has problems
 * @throws {AuthenticatorError} ERR_AUTHENTICATOR when another file of an authenticator cannot be used
 * @throws {ModuleError} ERR_MODULE when the module of a policy cannot be loaded
 * @throws {UpstreamFileError} ERR_UPSTREAM_FILE when a file of an upstream cannot be used
 */
export async function openRoutes(
  config: Config,
  { now, onEvent, around = (authenticator) => authenticator }: OpenRoutesOptions,
): Promise<OpenedRoutes> {
  const opened = await openAuthenticators(config.authenticators, {
    now,
    readApiKeys,
    onEvent: ({ authenticator, kind, message }) =>
      onEvent({ key: `authenticators.${authenticator}`, kind, message }),
  });
  const authenticators = new Map([...opened].map(([name, authenticator]) => [name, around(authenticator)]));
  const modules: PolicyModule[] = [];
  const upstreams = new Map<string, Upstream>();
  const close = async () => {
    for (const authenticator of authenticators.values()) authenticator.close();
    for (const module of modules) module.close();
    await Promise.all([...upstreams.values()].map((upstream) => upstream.destroy()));
  };

  async function routeOf(policy: PolicyConfig): Promise<Route> {
    const module =
      policy.module &&
      (await openModule(policy.module, (event) =>
        onEvent({ key: `policies.${policy.name}.module`, ...event }),
      ));
    if (module) modules.push(module);
    return {
      policy,
      authenticators: policy.authenticate.map((name) => authenticators.get(name) as Authenticator),
      module,
      upstream: await upstreamFor(policy),
      preserveHost: policy.upstream.preserveHost,
    };
  }

  /** Policies with the same upstream share its connections. */
  async function upstreamFor({ name, upstream: options }: PolicyConfig): Promise<Upstream> {
    const identity = JSON.stringify(options);
    const known = upstreams.get(identity);
    if (known) return known;
    const key = identity === JSON.stringify(config.upstream) ? "upstream" : `policies.${name}.upstream`;
    const upstream = await openUpstream(options, {
      now,
      sendSeconds: config.timeouts.sendSeconds,
      onEvent: (event) => onEvent({ key, ...event }),
    });
    upstreams.set(identity, upstream);
    return upstream;
  }

  try {
    const routes: Route[] = [];
    for (const policy of config.policies) routes.push(await routeOf(policy));
    return {
      routes,
      startHealthChecks() {
        for (const upstream of upstreams.values()) upstream.startHealthCheck();
      },
      upstreamHealth: () =>
        [...upstreams.values()].flatMap((upstream) => {
          const health = upstream.health();
          return health ? [{ origin: upstream.name, ...health }] : [];
        }),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** What {@link deciderOf} needs beside the configuration. */
export interface DeciderParts {
  readonly routes: readonly Route[];
  readonly issuer: Issuer;
  readonly tokens: Tokens;
  /** The authority of the listener, for a request that names no host. */
  readonly listenAuthority: string;
  /** Told of each field that does not go on, and why. */
  readonly onFieldRemoved?: DeciderOptions["onFieldRemoved"];
}

/** Puts together what decides about each request. */
export function deciderOf(
  config: Config,
  { routes, issuer, tokens, listenAuthority, onFieldRemoved }: DeciderParts,
): Decider {
  return createDecider({
    routes,
    isIssuerPath: issuerPathTest(config.issuer.basePath),
    tokens,
    signJwt: issuer.signJwt,
    fieldRules: fieldRulesOf(config),
    allowInPath: config.allowInPath,
    trustedProxies: trustedProxiesOf(config.trustedProxies),
    publicUrl: config.publicUrl,
    listenAuthority,
    onFieldRemoved,
  });
}

/** Which fields of a request only some peers may send, and which only Countersign sets. */
function fieldRulesOf({ authenticators, policies, listen }: Config): ReadonlyMap<string, FieldRule> {
  const rules = new Map<string, FieldRule>();
  // Whoever ends TLS takes out what a client says of its certificate (RFC 9440 §2.4).
  if (listen.some(({ tls }) => tls))
    for (const name of CLIENT_CERTIFICATE_FIELDS) rules.set(name, () => false);
  for (const options of Object.values(authenticators))
    for (const [name, from] of believedFieldsOf(options)) {
      const isBelieved = addressRangesOf(from);
      const before = rules.get(name);
      rules.set(
        name,
        typeof before === "function" ? (address) => before(address) || isBelieved(address) : isBelieved,
      );
    }
  for (const options of Object.values(authenticators))
    if (options.type === "jwt" && options.originalTokenHeader !== undefined)
      rules.set(canonicalFieldName(options.originalTokenHeader), "never");
  // On every request, whichever policy it matches.
  for (const { token } of policies)
    if (token !== "none") rules.set(canonicalFieldName(token.headerName), "never");
  return rules;
}

/** The fields that say who is calling, each with the proxies whose word counts. */
function believedFieldsOf(options: Config["authenticators"][string]): [string, readonly string[]][] {
  if (options.type === "trustedHeader")
    return [options.header, ...Object.values(options.claims)].map((name) => [
      canonicalFieldName(name),
      options.from,
    ]);
  if (options.type !== "clientCertificate") return [];
  // Where the TLS connection counts, nobody is believed.
  return CLIENT_CERTIFICATE_FIELDS.map((name) => [name, options.from ?? []]);
}

/** RFC 9440 §2. */
const CLIENT_CERTIFICATE_FIELDS = ["client-cert", "client-cert-chain"];
