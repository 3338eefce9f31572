import { execFile } from "node:child_process";
import { readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Deployment } from "kubernetes-types/apps/v1.js";
import type { Container, PodSpec, PodTemplateSpec, Probe, Service } from "kubernetes-types/core/v1.js";
import type { Ingress, NetworkPolicy } from "kubernetes-types/networking/v1.js";
import type { PodDisruptionBudget } from "kubernetes-types/policy/v1.js";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { parseConfig } from "../../src/index.ts";
import { temporaryFolder } from "../support/command-line.ts";
import {
  buildKustomization,
  DEPLOY,
  execForm,
  type GeneratedConfigMap,
  imageStages,
  type Manifest,
  readDeployed,
} from "../support/manifests.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Where the keys come from. */
const WAYS = ["keys-from-secret", "ring-in-redis"] as const;
const profileOf = (way: (typeof WAYS)[number]) => readDeployed(`kubernetes/${way}/sidecar.yaml`);
const KEYS = /^ {2}(?:# .*\n {2})*keys:\n(?: {4}.*\n)+/m;

/** What of each profile the configuration is read from. */
const LOADED = {
  "keys-from-secret": profileOf("keys-from-secret"),
  "ring-in-redis": profileOf("ring-in-redis"),
};

/** The types of kubernetes-types, by kind, and the version of each. */
interface Kinds {
  Deployment: Deployment;
  Service: Service;
  PodDisruptionBudget: PodDisruptionBudget;
  NetworkPolicy: NetworkPolicy;
  Ingress: Ingress;
  ConfigMap: GeneratedConfigMap;
}
const TYPES: Readonly<Record<string, string>> = {
  Deployment: "apps/v1",
  Service: "core/v1",
  PodDisruptionBudget: "policy/v1",
  NetworkPolicy: "networking/v1",
  Ingress: "networking/v1",
  ConfigMap: "core/v1",
};

function isOf<K extends keyof Kinds>(kind: K) {
  return (manifest: Manifest | Kinds[K]): manifest is Kinds[K] => manifest.kind === kind;
}

/** The one object of a kind that has this name. */
function find<K extends keyof Kinds>(manifests: readonly Manifest[], kind: K, name: string): Kinds[K] {
  const all: readonly (Manifest | Kinds[K])[] = manifests;
  const [found, ...others] = all.filter(isOf(kind)).filter(({ metadata }) => metadata?.name === name);
  if (!found || others.length > 0) throw new Error(`not one ${kind} ${name}`);
  return found;
}

/** A Deployment, its pods and the container of Countersign in them. */
function replicasOf(manifests: readonly Manifest[], name: string) {
  const deployment = find(manifests, "Deployment", name);
  const template: PodTemplateSpec = deployment.spec?.template ?? {};
  const pod: PodSpec = template.spec ?? { containers: [] };
  const containers = [...(pod.initContainers ?? []), ...pod.containers];
  const countersign = containers.find((container) => container.name === "countersign");
  if (!countersign) throw new Error(`Deployment ${name} has no container countersign`);
  return { deployment, template, pod, containers, countersign };
}

const portOf = (container: Container, name: string) =>
  container.ports?.find((port) => port.name === name)?.containerPort;

const everything = WAYS.map((way) => ({
  way,
  manifests: [way, "public-issuer"].flatMap((folder) => buildKustomization(`kubernetes/${folder}`)),
}));

test("every manifest has the keys that Kubernetes knows, of the types that it wants, and no others", {
  timeout: 60_000,
}, async () => {
  // The compiler knows the types, and refuses keys that are unknown.
  using folder = temporaryFolder();
  symlinkSync(join(ROOT, "node_modules"), join(folder.path, "node_modules"));
  const objects = new Set(everything.flatMap(({ manifests }) => manifests.map((one) => JSON.stringify(one))));
  const program = [...objects].map((json, index) => {
    const { kind, apiVersion } = JSON.parse(json) as Manifest;
    const group = apiVersion.replace(/^v1$/, "core/v1").replace(".k8s.io", "");
    expect(group).toBe(TYPES[kind]);
    return `export const the${index}: import("kubernetes-types/${group}.js").${kind} = ${json};\n`;
  });
  const wrong = `// @ts-expect-error\n${program[0]?.replace("the0", "wrong").replace('"metadata"', '"metdata"')}`;
  writeFileSync(join(folder.path, "manifests.ts"), [...program, wrong].join(""));
  const options = ["--noEmit", "--strict", "--skipLibCheck", "--ignoreConfig", "--module", "nodenext"];
  const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
  const { stdout } = await promisify(execFile)(process.execPath, [
    tsc,
    ...options,
    join(folder.path, "manifests.ts"),
  ]).catch((failure) => failure);
  expect(stdout).toBe("");
  expect(objects.size).toBe(11);
});

test("the folder as it is takes its keys from a Secret, and every file in it is of some use", () => {
  expect(buildKustomization("kubernetes")).toEqual(buildKustomization("kubernetes/keys-from-secret"));
  const files = readdirSync(join(DEPLOY, "kubernetes"), { recursive: true, withFileTypes: true });
  const objects = everything.flatMap(({ manifests }) => manifests.map((one) => JSON.stringify(one)));
  // Each object is one file, as a ConfigMap is its sidecar.yaml.
  expect(files.filter((file) => file.isFile() && file.name !== "kustomization.yaml").length).toBe(
    new Set(objects).size,
  );
});

test("where the keys come from is all that the two configurations differ in", () => {
  expect(profileOf("ring-in-redis").replace(KEYS, "")).toBe(profileOf("keys-from-secret").replace(KEYS, ""));
  expect(parse(profileOf("ring-in-redis")).issuer.keys).toEqual({
    redis: {
      url: expect.stringMatching(/^rediss:\/\//),
      prefix: "countersign:orders:",
      username: "countersign",
      password: "$env(REDIS_PASSWORD)",
      encryptionKeyFile: "/run/countersign/keys/ring.key",
    },
  });
});

describe.each(everything)("$way", ({ way, manifests }) => {
  const { config, warnings } = parseConfig(LOADED[way], {
    file: "sidecar.yaml",
    env: { REDIS_PASSWORD: "a-password" },
  });
  const api = replicasOf(manifests, "orders");
  const issuer = replicasOf(manifests, "countersign-issuer");
  const [backend, ...others] = api.pod.containers;
  const both = [
    ["orders", api],
    ["countersign-issuer", issuer],
  ] as const;

  test("the sidecar is a sidecar container: it starts before the backend, and goes on beside it", () => {
    expect(api.pod.initContainers?.map(({ name, restartPolicy }) => [name, restartPolicy])).toEqual([
      ["countersign", "Always"],
    ]);
    expect([backend?.name, others]).toEqual(["backend", []]);
  });

  test("the ports of the manifests are those of the configuration", () => {
    expect(warnings).toEqual([]);
    for (const [, { countersign }] of both) {
      const address = (name: string) => ({ kind: "tcp", host: "0.0.0.0", port: portOf(countersign, name) });
      expect(config.listen.map((listener) => listener.address)).toEqual([address("http")]);
      expect(config.admin?.address).toEqual(address("admin"));
    }
    const env = Object.fromEntries((backend?.env ?? []).map(({ name, value }) => [name, value]));
    expect(config.upstream.origin).toBe(`http://${env.HOST}:${env.PORT}`);
    expect(env).toEqual({
      HOST: "127.0.0.1",
      PORT: "9000",
      ISSUER: config.issuer.url,
      AUDIENCE: "https://orders.internal",
      JWKS_URL: `http://127.0.0.1:8080${config.issuer.basePath}/.well-known/jwks.json`,
    });
  });

  test.each(both)("what %s is named by selects its pods, and no others", (name, replicas) => {
    const labels = replicas.template.metadata?.labels;
    const selectors = [
      replicas.deployment.spec?.selector.matchLabels,
      find(manifests, "Service", name).spec?.selector,
      find(manifests, "PodDisruptionBudget", name).spec?.selector?.matchLabels,
      find(manifests, "NetworkPolicy", name).spec?.podSelector?.matchLabels,
      ...(replicas.pod.topologySpreadConstraints ?? []).map(
        ({ labelSelector }) => labelSelector?.matchLabels,
      ),
    ];
    expect(selectors).toEqual(Array.from({ length: 6 }, () => labels));
    expect(labels).toEqual({ "app.kubernetes.io/name": name });
  });

  test.each(both)(
    "of the pods of %s nobody but the node reaches more than the port for clients",
    (name, replicas) => {
      const policy = find(manifests, "NetworkPolicy", name).spec;
      const port = portOf(replicas.countersign, "http");
      expect(policy?.policyTypes).toEqual(["Ingress"]);
      // A rule without ports is for all of them. By its number, as sidecar containers have no names of ports everywhere.
      expect(policy?.ingress?.map(({ ports }) => ports?.map((one) => one.port))).toEqual([[port]]);
      const service = find(manifests, "Service", name).spec;
      expect(service?.ports?.map(({ targetPort }) => targetPort)).toEqual([port]);
      expect([service?.type, replicas.pod.hostNetwork, backend?.ports]).toEqual([
        undefined,
        undefined,
        undefined,
      ]);
    },
  );

  test.each(both)(
    "the probes of %s ask the operators' listener, and none restarts for what a restart cannot mend",
    (_, { countersign }) => {
      const askedBy = (probe?: Probe) => [probe?.httpGet?.port, probe?.httpGet?.path];
      // The backend starts behind the first; where keys or backend are missing for a while, the last alone says no.
      expect(askedBy(countersign.startupProbe)).toEqual(["admin", "/livez"]);
      expect(askedBy(countersign.livenessProbe)).toEqual(["admin", "/livez"]);
      expect(askedBy(countersign.readinessProbe)).toEqual(["admin", "/readyz"]);
      expect(portOf(countersign, "admin")).toBeDefined();
      // The backend cannot be probed: the sidecar does that for the pod.
      expect([backend?.readinessProbe, config.upstream.healthCheck?.path]).toEqual([undefined, "/healthz"]);
    },
  );

  test("a pod ends in order: the sidecar drains, then the backend ends, then it is too late", () => {
    const { notReadySeconds, drainSeconds } = config.timeouts;
    const drainedSeconds = notReadySeconds + drainSeconds;
    const waitSeconds = backend?.lifecycle?.preStop?.sleep?.seconds ?? 0;
    expect(waitSeconds).toBeGreaterThanOrEqual(drainedSeconds + 5);
    expect(api.pod.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(waitSeconds + 30);
    expect(issuer.pod.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(drainedSeconds + 10);
    // The times that the manifest tells of are these.
    const table = readDeployed("kubernetes/base/deployment.yaml").match(/^ +# +\d+ {2}/gm) ?? [];
    expect(table.map((line) => Number(line.replaceAll(/\D/g, "")))).toEqual([
      0,
      notReadySeconds,
      drainedSeconds,
      waitSeconds,
      api.pod.terminationGracePeriodSeconds,
    ]);
  });

  test("the command that tells the sidecar of the pod's end is one that its image has", () => {
    const [node, flag, script] = api.countersign.lifecycle?.preStop?.exec?.command ?? [];
    expect(readDeployed("container/Containerfile")).toContain(`#!${node}|`);
    expect([flag, script]).toEqual(["-e", "process.kill(1, 'SIGTERM')"]);
    // Process 1 is Countersign, as nothing is started before it, and as the pod's processes are not shared.
    expect(execForm(imageStages().at(-1) ?? [], "ENTRYPOINT")).toEqual(["/usr/local/bin/countersign"]);
    expect([api.countersign.command, api.pod.shareProcessNamespace]).toEqual([undefined, undefined]);
    // The issuer is told by Kubernetes itself, as nothing else is in its pod.
    expect([issuer.pod.initContainers, issuer.pod.containers.length]).toEqual([undefined, 1]);
  });

  test.each(both)(
    "a roll-out of %s, and a drain of a node, leave enough replicas",
    (name, { deployment }) => {
      expect(deployment.spec?.strategy?.rollingUpdate).toEqual({ maxUnavailable: 0, maxSurge: 1 });
      const { maxUnavailable, minAvailable, unhealthyPodEvictionPolicy } =
        find(manifests, "PodDisruptionBudget", name).spec ?? {};
      // With 0 no node could be drained; with as many as there are, all could be gone at once.
      expect([maxUnavailable, minAvailable, unhealthyPodEvictionPolicy]).toEqual([
        1,
        undefined,
        "AlwaysAllow",
      ]);
      expect(deployment.spec?.replicas).toBeGreaterThan(1);
      const spread = deployment.spec?.template.spec?.topologySpreadConstraints ?? [];
      expect(spread.map(({ topologyKey, whenUnsatisfiable }) => [topologyKey, whenUnsatisfiable])).toEqual([
        ["kubernetes.io/hostname", "ScheduleAnyway"],
        ["topology.kubernetes.io/zone", "ScheduleAnyway"],
      ]);
    },
  );

  test.each(both)(
    "%s keeps to the restricted Pod Security Standard, on a file system that is read-only",
    (_, { pod, containers }) => {
      expect(pod.securityContext).toMatchObject({
        runAsNonRoot: true,
        seccompProfile: { type: "RuntimeDefault" },
      });
      expect(pod.securityContext?.runAsUser).toBeGreaterThan(0);
      for (const { securityContext } of containers)
        expect(securityContext).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ["ALL"] },
        });
      expect(pod.automountServiceAccountToken).toBe(false);
    },
  );

  test.each(both)(
    "no replica of %s can have keys of its own: it has no folder to write to",
    (_, { pod, countersign }) => {
      expect(["directory", "ephemeral"]).not.toContain(config.issuer.keys.kind);
      for (const { configMap, secret, name, ...others } of pod.volumes ?? [])
        expect([name, configMap !== undefined || secret !== undefined, others]).toEqual([name, true, {}]);
      // Changes reach whole folders alone.
      for (const { subPath, readOnly } of countersign.volumeMounts ?? [])
        expect([subPath, readOnly]).toEqual([undefined, true]);
    },
  );

  test("the files and variables that the configuration names are in what is mounted, by the names that the docs make", () => {
    const sidecar = profileOf(way);
    expect(find(manifests, "ConfigMap", "countersign").data).toEqual({ "sidecar.yaml": sidecar });
    const foldersOf = ({ pod, countersign }: typeof api) =>
      Object.fromEntries(
        (countersign.volumeMounts ?? []).map(({ name, mountPath }) => {
          const volume = pod.volumes?.find((one) => one.name === name);
          return [mountPath, volume?.secret?.secretName ?? volume?.configMap?.name];
        }),
      );
    const secrets = {
      "/etc/countersign": "countersign",
      "/run/countersign/keys": "countersign-keys",
    };
    expect(foldersOf(api)).toEqual({ ...secrets, "/run/countersign/api-keys": "countersign-api-keys" });
    expect(foldersOf(issuer)).toEqual(secrets);
    const named = [...sidecar.matchAll(/\/run\/[\w./-]+/g)].map(([path]) => path);
    expect(named.length).toBeGreaterThan(2);
    for (const path of named)
      expect(
        Object.keys(foldersOf(api)).some((folder) => path.startsWith(`${folder}/`)),
        path,
      ).toBe(true);
    for (const { pod, countersign } of [api, issuer]) {
      expect(countersign.envFrom).toEqual([
        { secretRef: { name: "countersign-environment", optional: true } },
      ]);
      // 0440: the group is that of the pod, and a key that others may read is refused.
      const modes = pod.volumes?.flatMap(({ secret }) => (secret ? [secret.defaultMode] : []));
      expect(new Set(modes)).toEqual(new Set([0o440]));
      expect(pod.securityContext?.fsGroup).toBe(pod.securityContext?.runAsGroup);
    }
    const docs = readDeployed("../docs/deploying.md");
    const files = named.map((path) => path.split("/").at(-1));
    const made = [...Object.values(foldersOf(api)), "countersign-environment", ...files];
    expect(made.filter((name = "") => !docs.includes(name))).toEqual([]);
  });

  test("what is public is the issuer alone: the same program and configuration, and nothing is forwarded", () => {
    expect(issuer.countersign.args).toEqual(["serve", "--issuer-only"]);
    expect(issuer.countersign.image).toBe(api.countersign.image);
    const { rules, tls } = find(manifests, "Ingress", "countersign-issuer").spec ?? {};
    const { host } = new URL(config.issuer.url ?? "");
    const service = find(manifests, "Service", "countersign-issuer");
    const backend = {
      service: { name: service.metadata?.name, port: { name: service.spec?.ports?.[0]?.name } },
    };
    expect(rules).toEqual([{ host, http: { paths: [{ path: "/", pathType: "Prefix", backend }] } }]);
    expect(tls?.map(({ hosts }) => hosts)).toEqual([[host]]);
  });
});
