import type { Policy } from "../policy/policy.ts";
import type { Config } from "./config.ts";
import type { KeyPath } from "./document.ts";
import type { SidecarFile, TokenSection } from "./schema.ts";
import { isWildcard } from "./wildcard.ts";

/** Something doubtful, and the way to the value in the file that it is about. */
export interface Warning {
  readonly path: KeyPath;
  readonly message: string;
}

/**
 * What is doubtful about a configuration that can be used.
 *
 * @param file what {@link config} was made from
 */
export function warningsOf(config: Config, file: SidecarFile): Warning[] {
  return [
    ...aboutIssuerClaims(file),
    ...aboutKeys(config),
    ...aboutIssuerUrl(config),
    ...aboutPolicies(config),
  ];
}

function aboutIssuerClaims({ token, policies = [] }: SidecarFile): Warning[] {
  const message =
    "overrides the issuer: a backend that compares iss with the discovery document will refuse the token";
  const ofPolicies = policies.map((policy, index) => ({
    path: ["policies", index, "token"],
    token: policy.token,
  }));
  return [{ path: ["token"], token }, ...ofPolicies]
    .filter((section) => overridesIssuer(section.token))
    .map(({ path }) => ({ path: [...path, "additionalClaims", "iss"], message }));
}

function overridesIssuer(token: TokenSection | "none" | undefined): boolean {
  return typeof token === "object" && (token.additionalClaims?.iss ?? null) !== null;
}

function aboutKeys({ issuer }: Config): Warning[] {
  if (issuer.keys.kind !== "ephemeral") return [];
  const message =
    "the signing key is lost at every restart, and backends refuse tokens until they fetch the new one; use a directory in production";
  return [{ path: ["issuer", "keys", "ephemeral"], message }];
}

function aboutIssuerUrl({ issuer: { url, basePath }, listen }: Config): Warning[] {
  if (url === undefined) {
    if (!isWildcard(listen)) return [];
    const message =
      "the sidecar listens on every address and issuer.url is not set, so tokens name 127.0.0.1 as their issuer; set issuer.url to a URL that the backend can reach";
    return [{ path: ["listen"], message }];
  }
  if (new URL(url).pathname.endsWith(basePath)) return [];
  const message = `verifiers look for the keys below this URL, and the sidecar serves them under ${basePath}; end the URL with it, unless a proxy in front rewrites the path`;
  return [{ path: ["issuer", "url"], message }];
}

function aboutPolicies({ policies, issuer: { basePath } }: Config): Warning[] {
  const warnings = policies.flatMap(({ match }, index) =>
    isUnder(basePath, match)
      ? [
          {
            path: ["policies", index, "match", "path"],
            message: `never matches: the issuer answers every path under ${basePath}`,
          },
        ]
      : [],
  );
  const catchAll = policies.findIndex(
    ({ match }) => !match.methods && !match.hosts && matchesEveryPath(match),
  );
  if (catchAll === -1 || catchAll === policies.length - 1) return warnings;
  const message = `never matches: policies[${catchAll}] (${policies[catchAll]?.name}) before it matches every request`;
  return [...warnings, { path: ["policies", catchAll + 1], message }];
}

function isUnder(basePath: string, { path }: Policy["match"]): boolean {
  const source = path?.source ?? "";
  return [`${basePath}/`, `${basePath}{/`].some((start) => source.startsWith(start)) || source === basePath;
}

function matchesEveryPath({ path }: Policy["match"]): boolean {
  return path === undefined || /^\/\{?\*\w+\}?$/.test(path.source);
}
