import { hash } from "node:crypto";
import { issuerSettingsOf } from "../../src/config/issuer-settings.ts";
import { keyNeedsOf } from "../../src/config/key-needs.ts";
import type { Decider } from "../../src/gateway/decide.ts";
import type { ReceivedRequest } from "../../src/gateway/decision.ts";
import { parseConfig } from "../../src/index.ts";
import { issuerOver } from "../../src/issuer/issuer.ts";
import { openKeys } from "../../src/issuer/keys/key-source.ts";
import { createTokens } from "../../src/issuer/tokens.ts";
import { deciderOf, openRoutes } from "../../src/open-routes.ts";

/** A configuration with many policies and keys, of which {@link REQUEST} needs the last. */
export interface DeciderVariant {
  readonly policies: number;
  readonly keys: number;
  /** The path pattern of a policy; `"last"` is the one that {@link REQUEST} matches. */
  readonly pathOf: (name: string) => string;
  /** The host that a policy is for. Default: any. */
  readonly hostOf?: (name: string) => string;
}

/** What decides about requests, without a listener in front or an upstream behind. */
export interface TestDecider {
  readonly decide: Decider;
  close(): Promise<void>;
}

const KEY = "the-last-of-all-keys";

/** Matches `pathOf("last")` of every variant here. */
export const REQUEST: ReceivedRequest = {
  method: "GET",
  requestTarget: "/last/last/last/42?verbose=1",
  httpVersion: "1.1",
  rawFields: [
    ...["Host", "api.example.com", "User-Agent", "curl/8.5.0", "Accept", "application/json"],
    ...["Accept-Encoding", "gzip", "X-Api-Key", KEY, "Connection", "keep-alive"],
  ],
  hasBody: false,
  requestId: "0",
  peer: { address: "127.0.0.1", certificate: () => undefined },
  scheme: "http",
};

/** Opens a configuration whose last policy and last key are those of {@link REQUEST}, and makes its token. */
export async function openDecider({ policies, keys, pathOf, hostOf }: DeciderVariant): Promise<TestDecider> {
  const names = (count: number) =>
    Array.from({ length: count }, (_, i) => (i === count - 1 ? "last" : `n-${i}`));
  const { config } = parseConfig(
    JSON.stringify({
      upstream: "http://127.0.0.1:9",
      issuer: { keys: { ephemeral: true } },
      authenticators: {
        keys: {
          type: "apiKey",
          header: "X-Api-Key",
          keys: names(keys).map((name) => ({
            subject: name,
            sha256: hash("sha256", name === "last" ? KEY : `key-${name}`),
          })),
        },
      },
      authenticate: ["keys"],
      token: { audience: "https://orders.internal" },
      policies: names(policies).map((name) => ({
        name,
        match: { path: pathOf(name), hosts: hostOf && [hostOf(name)] },
      })),
    }),
    { file: "sidecar.yaml" },
  );
  const surroundings = { now: Date.now, onEvent: () => {} };
  const signingKeys = await openKeys(config.issuer.keys, {
    ...surroundings,
    needs: keyNeedsOf(config),
    env: {},
  });
  const opened = await openRoutes(config, surroundings);
  const url = "http://127.0.0.1:8080/__issuer";
  const tokens = createTokens({ url, keys: signingKeys, now: Date.now });
  const issuer = issuerOver(url, signingKeys, tokens, issuerSettingsOf(config));
  const decide = deciderOf(config, {
    routes: opened.routes,
    issuer,
    tokens,
    listenAuthority: "127.0.0.1:8080",
  });
  const first = await decide(REQUEST);
  if (first.kind !== "forward" || first.user?.sub !== "last" || first.route.policy.name !== "last")
    throw new Error("the request was not decided about as it should be");
  return {
    decide,
    async close() {
      await opened.close();
      await signingKeys.close();
    },
  };
}
