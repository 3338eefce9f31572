import type { Config } from "./config/config.ts";
import { issuerSettingsOf } from "./config/issuer-settings.ts";
import {
  createRequestHandlers,
  type RequestHandlers,
  type RequestPathOptions,
} from "./gateway/handle-request.ts";
import { createIssuerEndpoints } from "./gateway/issuer-endpoints.ts";
import type { Attempts } from "./gateway/token-endpoint/attempts.ts";
import { createTokenEndpoint } from "./gateway/token-endpoint/token-endpoint.ts";
import { type Issuer, issuerOver } from "./issuer/issuer.ts";
import type { IssuerKeys } from "./issuer/keys/key-set.ts";
import type { Tokens } from "./issuer/tokens.ts";
import { deciderOf, type OpenedRoutes } from "./open-routes.ts";

/** What requests are answered with, from one configuration. */
export interface Service {
  readonly config: Config;
  readonly opened: OpenedRoutes;
  readonly issuer: Issuer;
  readonly handlers: RequestHandlers;
}

/** What every configuration of a running sidecar is built on. */
export interface Foundation
  extends Pick<RequestPathOptions, "connectionLimit" | "onFailure" | "onEnd" | "tracer"> {
  /** The issuer's. */
  readonly url: string;
  readonly keys: IssuerKeys;
  readonly tokens: Tokens;
  /** Counts what was tried at the token endpoint; a reload forgets nothing of it. */
  readonly attempts: Attempts;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** The authority of the first listener, for a request that names no host. */
  readonly listenAuthority: string;
}

/** Puts the parts of one configuration together. */
export function createService(
  config: Config,
  opened: OpenedRoutes,
  { url, keys, tokens, attempts, now, listenAuthority, ...surroundings }: Foundation,
): Service {
  const issuer = issuerOver(url, keys, tokens, issuerSettingsOf(config));
  const { authenticators } = opened;
  const tokenEndpoint =
    config.tokenEndpoint &&
    createTokenEndpoint(config.tokenEndpoint, { issuer: url, tokens, authenticators, attempts, now });
  const issuerEndpoints = createIssuerEndpoints(issuer, config.issuer.basePath, tokenEndpoint);
  const decide = deciderOf(config, { routes: opened.routes, issuer, tokens, listenAuthority });
  const { limits } = config;
  const handlers = createRequestHandlers({ decide, issuerEndpoints, limits, ...surroundings });
  return { config, opened, issuer, handlers };
}
