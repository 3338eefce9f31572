import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseConfig } from "../../src/index.ts";
import { DEPLOY, execForm, imageStages, readDeployed, readManifest } from "../support/manifests.ts";

interface Service {
  readonly build: { readonly context: string; readonly dockerfile?: string };
  readonly ports?: readonly string[];
  readonly expose?: readonly string[];
  readonly networks?: readonly string[];
  readonly network_mode?: string;
  readonly volumes?: readonly string[];
  readonly stop_grace_period?: string;
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly environment?: Readonly<Record<string, string>>;
  readonly read_only: boolean;
  readonly cap_drop: readonly string[];
  readonly security_opt: readonly string[];
}

const compose = readManifest<{
  readonly services: Readonly<Record<"countersign" | "backend", Service>>;
  readonly volumes: Readonly<Record<string, object>>;
}>("compose/compose.yaml");
const { countersign, backend } = compose.services;
const { config, warnings } = parseConfig(readDeployed("compose/countersign/sidecar.yaml"), {
  file: "sidecar.yaml",
});

test("the backend is reached through the sidecar alone: it has no port, and no network but the sidecar's", () => {
  expect(Object.keys(compose.services)).toEqual(["countersign", "backend"]);
  expect(backend.network_mode).toBe("service:countersign");
  expect([backend.ports, backend.expose, backend.networks]).toEqual([undefined, undefined, undefined]);
  expect(config.upstream.origin).toBe(`http://127.0.0.1:${backend.environment?.PORT}`);
});

test("only the sidecar's own port is published, and for this machine alone", () => {
  expect(warnings).toEqual([]);
  const [address] = config.listen.map((listener) => listener.address);
  expect(address).toEqual({ kind: "tcp", host: "0.0.0.0", port: 8080 });
  expect(countersign.ports).toEqual(["127.0.0.1:8080:8080"]);
  expect(config.admin?.address).toMatchObject({ host: "127.0.0.1" });
});

test("the backend verifies what the configuration signs", () => {
  expect(backend.environment).toMatchObject({
    ISSUER: config.issuer.url,
    AUDIENCE: "https://orders.internal",
  });
  expect(config.policies.map(({ token }) => token !== "none" && token.audience)).toEqual([
    { kind: "literal", value: backend.environment?.AUDIENCE },
  ]);
});

test("both containers are read-only and without privileges; keys are kept where the image lets them be written", () => {
  for (const { read_only, cap_drop, security_opt } of [countersign, backend])
    expect({ read_only, cap_drop, security_opt }).toEqual({
      read_only: true,
      cap_drop: ["ALL"],
      security_opt: ["no-new-privileges:true"],
    });
  expect(countersign.volumes).toEqual(["./countersign:/etc/countersign:ro", "keys:/var/lib/countersign"]);
  expect(Object.keys(compose.volumes)).toEqual(["keys"]);
  expect(config.issuer.keys).toMatchObject({ kind: "directory", directory: "/var/lib/countersign/keys" });
});

test("the image is built from this repository, asked how it is, and given the time that a stop takes", () => {
  const { context, dockerfile = "" } = countersign.build;
  expect(existsSync(join(DEPLOY, "compose", context, dockerfile))).toBe(true);
  expect(existsSync(join(DEPLOY, "compose", backend.build.context, "server.mjs"))).toBe(true);
  expect(countersign.healthcheck?.test).toEqual([
    "CMD",
    ...execForm(imageStages().at(-1) ?? [], "HEALTHCHECK"),
  ]);
  const { notReadySeconds, drainSeconds } = config.timeouts;
  expect(Number.parseInt(countersign.stop_grace_period ?? "", 10)).toBeGreaterThan(
    notReadySeconds + drainSeconds,
  );
});
