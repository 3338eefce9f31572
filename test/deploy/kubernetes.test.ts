import { execFile } from "node:child_process";
import { chmodSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { decodeJwt } from "jose";
import type { Deployment } from "kubernetes-types/apps/v1.js";
import type { Container, Probe, Service } from "kubernetes-types/core/v1.js";
import type { NetworkPolicy } from "kubernetes-types/networking/v1.js";
import { expect, test } from "vitest";
import { parseConfig } from "../../src/index.ts";
import { apiKeyEntry } from "../support/api-keys.ts";
import { startBackend } from "../support/backend.ts";
import { runCommand, startCommand, temporaryFolder } from "../support/command-line.ts";
import { DEPLOY, execForm, imageStages, readDeployed, readManifest } from "../support/manifests.ts";
import { sendRaw } from "../support/raw-client.ts";
import { printed } from "../support/workers.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const deployment = readManifest<Deployment>("kubernetes/deployment.yaml");
const service = readManifest<Service>("kubernetes/service.yaml");
const networkPolicy = readManifest<NetworkPolicy>("kubernetes/network-policy.yaml");
const { config, warnings } = parseConfig(readDeployed("kubernetes/sidecar.yaml"), { file: "sidecar.yaml" });

/** Whom the backend takes tokens for. */
const AUDIENCE = "https://orders.internal";

const template = deployment.spec?.template;
const pod = template?.spec;
const [sidecar, ...otherFirst] = (pod?.initContainers ?? []) as [Container, ...Container[]];
const [backend, ...others] = (pod?.containers ?? []) as [Container, ...Container[]];
const labels = template?.metadata?.labels;
const portOf = (name: string) => sidecar.ports?.find((port) => port.name === name)?.containerPort;

test("every manifest has the keys that Kubernetes knows, of the types that it wants, and no others", {
  timeout: 60_000,
}, async () => {
  // The compiler knows the types, and refuses keys that are unknown.
  using folder = temporaryFolder();
  symlinkSync(join(ROOT, "node_modules"), join(folder.path, "node_modules"));
  const program = Object.entries({
    "apps/v1.Deployment": deployment,
    "core/v1.Service": service,
    "networking/v1.NetworkPolicy": networkPolicy,
  }).map(([type, manifest]) => {
    const [module, name] = type.split(".");
    return `export const the${name}: import("kubernetes-types/${module}.js").${name} = ${JSON.stringify(manifest)};\n`;
  });
  writeFileSync(join(folder.path, "manifests.ts"), program.join(""));
  const options = ["--noEmit", "--strict", "--skipLibCheck", "--ignoreConfig", "--module", "nodenext"];
  const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
  const { stdout } = await promisify(execFile)(process.execPath, [
    tsc,
    ...options,
    join(folder.path, "manifests.ts"),
  ]).catch((failure) => failure);
  expect(stdout).toBe("");
});

test("kustomization.yaml takes every manifest, and the configuration", () => {
  const kustomization = readManifest<{
    resources: string[];
    configMapGenerator: { name: string; files: string[] }[];
  }>("kubernetes/kustomization.yaml");
  const files = readdirSync(join(DEPLOY, "kubernetes")).filter((file) => file.endsWith(".yaml"));
  const [configMap] = kustomization.configMapGenerator;
  expect([...kustomization.resources, ...(configMap?.files ?? []), "kustomization.yaml"].sort()).toEqual(
    files.sort(),
  );
  expect(pod?.volumes?.map(({ configMap }) => configMap?.name)).toContain(configMap?.name);
});

test("the sidecar is a sidecar container: it starts before the backend, and goes on beside it", () => {
  expect(otherFirst).toEqual([]);
  expect(others).toEqual([]);
  expect(sidecar.restartPolicy).toBe("Always");
});

test("the ports of the manifests are those of the configuration", () => {
  expect(warnings).toEqual([]);
  expect(config.listen.map(({ address }) => address)).toEqual([
    { kind: "tcp", host: "0.0.0.0", port: portOf("http") },
  ]);
  expect(config.admin?.address).toEqual({ kind: "tcp", host: "0.0.0.0", port: portOf("admin") });
  const env = Object.fromEntries((backend.env ?? []).map(({ name, value }) => [name, value]));
  expect(config.upstream.origin).toBe(`http://${env.HOST}:${env.PORT}`);
  expect(env).toMatchObject({
    HOST: "127.0.0.1",
    ISSUER: config.issuer.url,
    AUDIENCE,
    JWKS_URL: `http://127.0.0.1:${portOf("http")}${config.issuer.basePath}/.well-known/jwks.json`,
  });
});

test("of the pod nobody but the node reaches more than the sidecar's port", () => {
  expect(networkPolicy.spec?.podSelector?.matchLabels).toEqual(labels);
  expect(networkPolicy.spec?.policyTypes).toEqual(["Ingress"]);
  const open = networkPolicy.spec?.ingress?.map(({ ports }) => ports?.map(({ port }) => port));
  // A rule without ports is for all of them.
  expect(open).toEqual([["http"]]);
  expect(service.spec?.selector).toEqual(labels);
  expect(service.spec?.ports?.map(({ targetPort }) => targetPort)).toEqual(["http"]);
  expect(backend.ports).toBeUndefined();
  expect(pod?.hostNetwork).toBeUndefined();
});

test("the probes ask the operators' listener, and the sidecar's start waits for nothing that starts after it", () => {
  const askedBy = (probe?: Probe) => [probe?.httpGet?.port, probe?.httpGet?.path];
  expect(askedBy(sidecar.startupProbe)).toEqual(["admin", "/livez"]);
  expect(askedBy(sidecar.livenessProbe)).toEqual(["admin", "/livez"]);
  expect(askedBy(sidecar.readinessProbe)).toEqual(["admin", "/readyz"]);
  // The backend cannot be probed: the sidecar does that for the pod.
  expect(config.upstream.healthCheck?.path).toBe("/healthz");
});

test("the pod's end waits for the sidecar: first it drains, then the backend ends, then it is too late", () => {
  const { notReadySeconds, drainSeconds } = config.timeouts;
  const waitSeconds = backend.lifecycle?.preStop?.sleep?.seconds ?? 0;
  expect(waitSeconds).toBeGreaterThan(notReadySeconds + drainSeconds);
  expect(pod?.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(waitSeconds + 30);
});

test("the command that tells the sidecar of the pod's end is one that its image has", () => {
  const [node, flag, script] = sidecar.lifecycle?.preStop?.exec?.command ?? [];
  expect(readDeployed("container/Containerfile")).toContain(`#!${node}|`);
  expect([flag, script]).toEqual(["-e", "process.kill(1, 'SIGTERM')"]);
  // Process 1 is Countersign, as nothing is started before it, and as the pod's processes are not shared.
  expect(execForm(imageStages().at(-1) ?? [], "ENTRYPOINT")).toEqual(["/usr/local/bin/countersign"]);
  expect([sidecar.command, pod?.shareProcessNamespace]).toEqual([undefined, undefined]);
});

test("both containers keep to the restricted Pod Security Standard, on a file system that is read-only", () => {
  expect(pod?.securityContext).toMatchObject({
    runAsNonRoot: true,
    seccompProfile: { type: "RuntimeDefault" },
  });
  expect(pod?.securityContext?.runAsUser).toBeGreaterThan(0);
  for (const container of [sidecar, backend])
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    });
  expect(pod?.automountServiceAccountToken).toBe(false);
});

test("the files that the configuration names are in what is mounted, as folders, and changes reach them", () => {
  const text = readDeployed("kubernetes/sidecar.yaml");
  const named = [...text.matchAll(/\/run\/[\w./-]+/g)].map(([path]) => path);
  const mounted = (sidecar.volumeMounts ?? []).map(({ mountPath }) => mountPath);
  expect(named.length).toBe(2);
  for (const path of named)
    expect(
      mounted.some((folder) => path.startsWith(`${folder}/`)),
      path,
    ).toBe(true);
  expect(mounted).toContain("/etc/countersign");
  for (const { subPath, readOnly } of sidecar.volumeMounts ?? [])
    expect([subPath, readOnly]).toEqual([undefined, true]);
});

test("with Secrets as the pod mounts them the sidecar starts, signs with their key, and answers probes to its address", async () => {
  const secrets = pod?.volumes?.flatMap(({ secret }) => secret ?? []) ?? [];
  expect(secrets.map(({ defaultMode }) => defaultMode)).toEqual([0o440, 0o440]);
  await using upstream = await startBackend();
  using folder = temporaryFolder();
  const key = join(folder.path, "current.pem");
  expect(await runCommand(["keys", "generate", "--output", key])).toMatchObject({ code: 0 });
  const apiKeys = join(folder.path, "api-keys.yaml");
  writeFileSync(apiKeys, `keys:\n  - ${apiKeyEntry("a-key", "acme")}\n`);
  for (const file of [key, apiKeys]) chmodSync(file, 0o440);
  const yaml = readDeployed("kubernetes/sidecar.yaml")
    .replaceAll(/0\.0\.0\.0:\d+/g, "127.0.0.1:0")
    .replaceAll(config.upstream.origin, upstream.url)
    .replaceAll(/\/run\/countersign\/[\w-]+/g, folder.path);
  writeFileSync(join(folder.path, "sidecar.yaml"), yaml);
  await using running = await startCommand(["serve"], { cwd: folder.path });
  const operators = /operators +http:\/\/127\.0\.0\.1:(\d+)/;
  await printed(running, operators);
  const [, admin = ""] = operators.exec(running.output().stderr) ?? [];

  // The kubelet asks the address of the pod.
  const probe = (path = "") =>
    sendRaw(Number(admin), `GET ${path} HTTP/1.1\r\nHost: 10.42.0.7:8081\r\nConnection: close\r\n\r\n`);
  expect(await probe(sidecar.startupProbe?.httpGet?.path)).toMatch(/^HTTP\/1\.1 200 /);
  await expect.poll(() => probe(sidecar.readinessProbe?.httpGet?.path)).toMatch(/^HTTP\/1\.1 200 /);
  const orders = await fetch(`${running.url}/orders/1`, { headers: { "x-api-key": "a-key" } });
  expect(orders.status).toBe(200);
  const request = upstream.requests.find(({ url }) => url === "/orders/1");
  expect(decodeJwt(String(request?.headers.authorization).replace("Bearer ", ""))).toMatchObject({
    iss: config.issuer.url,
    sub: "acme",
    aud: AUDIENCE,
  });
});
