import { readKeysFile } from "./config/authenticators/large-keys-file.ts";
import type { Config, PolicyConfig } from "./config/config.ts";
import { createDecider, type Decider, type DeciderOptions } from "./gateway/decide.ts";
import type { Route } from "./gateway/decision.ts";
import { canonicalFieldName } from "./gateway/field-names.ts";
import type { FieldRule } from "./gateway/fields.ts";
import { trustedProxiesOf } from "./gateway/forwarded-client.ts";
import { issuerPathTest } from "./gateway/issuer-endpoints.ts";
import type { OriginHealth } from "./gateway/upstream/health-check.ts";
import { openUpstream, type Upstream } from "./gateway/upstream/upstream.ts";
import { viaPseudonymsOf } from "./gateway/via.ts";
import type { Issuer } from "./issuer/issuer.ts";
import type { Tokens } from "./issuer/tokens.ts";
import { addressRangesOf } from "./policy/authenticators/address-ranges.ts";
import type { Authenticator, AuthenticatorEvent, OwnIssuer } from "./policy/authenticators/authenticator.ts";
import { openAuthenticator } from "./policy/authenticators/open.ts";
import type { AuthenticatorOptions } from "./policy/authenticators/options.ts";
import { openModule, type PolicyModule } from "./policy/module.ts";
import type { PolicyEvent } from "./policy-event.ts";
import { SharedResources } from "./shared-resources.ts";

/** What {@link openRoutes} needs. */
export interface OpenRoutesOptions {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly onEvent: (event: PolicyEvent) => void;
  /** Whose tokens may come back. Default: nobody's, so that their keys are fetched like any others. */
  readonly own?: OwnIssuer | undefined;
  /** Puts something around each authenticator, for whoever has to know what it answers. */
  readonly around?: (authenticator: Authenticator) => Authenticator;
  /** What is open already, for configurations that follow each other. Default: nothing. */
  readonly resources?: SharedResources;
}

/** Everything that the policies of a configuration use, opened. */
export interface OpenedRoutes {
  readonly routes: readonly Route[];
  /** By name. */
  readonly authenticators: ReadonlyMap<string, Authenticator>;
  /** Begins to ask the backends how they are, where that is configured. */
  startHealthChecks(): void;
  /** How the backends are that are asked. */
  upstreamHealth(): readonly OriginHealth[];
  /** Stops watching files, and ends every connection to an upstream, unless another configuration uses it. */
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
export async function openRoutes(config: Config, options: OpenRoutesOptions): Promise<OpenedRoutes> {
  const {
    now,
    onEvent,
    own,
    around = (authenticator) => authenticator,
    resources = new SharedResources(),
  } = options;
  const inUse = new Set<string>();
  const upstreams = new Set<Upstream>();

  /** Opens what is described, once for all policies of this configuration. */
  async function use<T>(
    description: readonly unknown[],
    open: () => Promise<T>,
    close: (resource: T) => void | Promise<void>,
  ): Promise<T> {
    const identity = JSON.stringify(description);
    const resource = await resources.acquire(identity, open, close);
    if (inUse.has(identity)) await resources.release(identity);
    inUse.add(identity);
    return resource;
  }

  function authenticatorOf(name: string, authenticator: AuthenticatorOptions): Promise<Authenticator> {
    const surroundings = {
      now,
      own,
      readKeysFile,
      onEvent: ({ kind, message }: AuthenticatorEvent) =>
        onEvent({ key: `authenticators.${name}`, kind, message }),
    };
    return use(
      ["authenticator", name, authenticator],
      async () => openAuthenticator(name, authenticator, surroundings),
      (opened) => opened.close(),
    );
  }

  function moduleOf({ name, module }: PolicyConfig): Promise<PolicyModule> | undefined {
    if (!module) return undefined;
    const key = `policies.${name}.module`;
    return use(
      [key, module],
      () => openModule(module, (event) => onEvent({ key, ...event })),
      (opened) => opened.close(),
    );
  }

  /** Policies with the same upstream share its connections. */
  async function upstreamOf({ name, upstream }: PolicyConfig): Promise<Upstream> {
    const { sendSeconds } = config.timeouts;
    const isAtTop = JSON.stringify(upstream) === JSON.stringify(config.upstream);
    const key = isAtTop ? "upstream" : `policies.${name}.upstream`;
    const opened = await use(
      ["upstream", upstream, sendSeconds],
      () => openUpstream(upstream, { now, sendSeconds, onEvent: (event) => onEvent({ key, ...event }) }),
      (open) => open.destroy(),
    );
    upstreams.add(opened);
    return opened;
  }

  async function close(): Promise<void> {
    await Promise.all([...inUse].map((identity) => resources.release(identity)));
  }

  try {
    const authenticators = new Map<string, Authenticator>();
    for (const [name, authenticator] of usedAuthenticatorsOf(config))
      authenticators.set(name, around(await authenticatorOf(name, authenticator)));
    const routes: Route[] = [];
    for (const policy of config.issuerOnly ? [] : config.policies)
      routes.push({
        policy,
        authenticators: policy.authenticate.map((name) => authenticators.get(name) as Authenticator),
        module: await moduleOf(policy),
        upstream: await upstreamOf(policy),
        preserveHost: policy.upstream.preserveHost,
      });
    return {
      routes,
      authenticators,
      startHealthChecks() {
        for (const upstream of upstreams) upstream.startHealthCheck();
      },
      upstreamHealth: () =>
        [...upstreams].flatMap((upstream) => {
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

/** Without policies only the token endpoint asks who is calling; a file of another authenticator need not be there. */
function usedAuthenticatorsOf({ authenticators, tokenEndpoint, issuerOnly }: Config) {
  const all = Object.entries(authenticators);
  if (!issuerOnly) return all;
  const asked = new Set(tokenEndpoint ? [...tokenEndpoint.clients, ...tokenEndpoint.tokens] : []);
  return all.filter(([name]) => asked.has(name));
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
    viaPseudonyms: viaPseudonymsOf(issuer),
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
