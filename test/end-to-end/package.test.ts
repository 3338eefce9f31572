import { execFile } from "node:child_process";
import { readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { EXECUTABLE, startCommand, temporaryFolder } from "../support/command-line.ts";

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
// npm runs with the Node.js that runs this test.
const env = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env.PATH}` };

interface PackedPackage {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

test("the published package holds what a user needs, and works installed from its tarball", {
  timeout: 90_000,
}, async () => {
  using folder = temporaryFolder();
  const { stdout } = await run(
    "npm",
    ["pack", "--json", "--ignore-scripts", "--pack-destination", folder.path],
    { cwd: ROOT, env },
  );
  const parsed = JSON.parse(stdout) as PackedPackage[] | Record<string, PackedPackage>;
  const packed = Object.values(parsed)[0] as PackedPackage;
  const paths = packed.files.map(({ path }) => path);

  expect(paths.filter((path) => !path.startsWith("dist/")).sort()).toEqual([
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "bin/countersign.js",
    "config/api-keys.policy-test.yaml",
    "config/api-keys.yaml",
    "config/migrate-shared-secret.policy-test.yaml",
    "config/migrate-shared-secret.yaml",
    "config/mtls-mesh.policy-test.yaml",
    "config/mtls-mesh.yaml",
    "config/oidc.policy-test.yaml",
    "config/oidc.yaml",
    "config/public-and-protected.policy-test.yaml",
    "config/public-and-protected.yaml",
    "config/sidecar.schema.json",
    "deploy/systemd/countersign.service",
    "deploy/systemd/countersign.socket",
    "deploy/systemd/countersign.sysusers.conf",
    "deploy/systemd/sidecar.yaml",
    "docs/authenticators/README.md",
    "docs/authenticators/api-key.md",
    "docs/authenticators/basic.md",
    "docs/authenticators/client-certificate.md",
    "docs/authenticators/jwt.md",
    "docs/authenticators/trusted-header.md",
    "docs/behind-a-proxy.md",
    "docs/chained-sidecars.md",
    "docs/client-apps.md",
    "docs/clouds/README.md",
    "docs/clouds/aws.md",
    "docs/clouds/azure.md",
    "docs/clouds/google-cloud.md",
    "docs/coming-from-zuplo.md",
    "docs/configuration.md",
    "docs/deploying.md",
    "docs/errors.md",
    "docs/explain.md",
    "docs/fleet.md",
    "docs/fleet.svg",
    "docs/forwarding.md",
    "docs/hsm.md",
    "docs/identity-tokens.md",
    "docs/keys.md",
    "docs/library.md",
    "docs/listeners.md",
    "docs/logs.md",
    "docs/metrics.md",
    "docs/modules.md",
    "docs/operating.md",
    "docs/performance-peers.svg",
    "docs/performance-scale.svg",
    "docs/performance-soak.svg",
    "docs/performance.md",
    "docs/policies.md",
    "docs/policy-tests.md",
    "docs/rotation.svg",
    "docs/security.md",
    "docs/static-issuer.md",
    "docs/tls.md",
    "docs/tracing.md",
    "docs/troubleshooting.md",
    "docs/upgrading.md",
    "docs/upstreams.md",
    "docs/verifying/README.md",
    "docs/verifying/apache.md",
    "docs/verifying/dotnet.md",
    "docs/verifying/go.md",
    "docs/verifying/haproxy.md",
    "docs/verifying/java.md",
    "docs/verifying/kong.md",
    "docs/verifying/nginx.md",
    "docs/verifying/node.md",
    "docs/verifying/php.md",
    "docs/verifying/python.md",
    "docs/websockets.md",
    "package.json",
    "sidecar.example.yaml",
  ]);
  expect(paths.filter((path) => path.startsWith("dist/") && !/\.(?:js|d\.ts)$/.test(path))).toEqual([
    "dist/third-party-licenses.txt",
  ]);

  const install = [
    "install",
    "--no-audit",
    "--no-fund",
    "--prefer-offline",
    // As where it cannot be compiled.
    "--omit=optional",
    join(folder.path, packed.filename),
  ];
  await run("npm", install, { cwd: folder.path, env });
  const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
  const printed = await run("npx", ["countersign", "--version"], { cwd: folder.path, env });
  expect(printed.stdout).toBe(`${version}\n`);

  await using backend = await startBackend();
  const executable = join(folder.path, "node_modules/countersign/bin/countersign.js");
  await using sidecar = await startCommand(["serve", "--upstream", backend.url, "--listen", "127.0.0.1:0"], {
    cwd: folder.path,
    executable,
  });
  await fetch(sidecar.url);
  expect(backend.requests[0]?.headers.authorization).toMatch(/^Bearer ey/);

  // What it uses is in it, but for what is compiled for each system.
  expect(
    readdirSync(join(folder.path, "node_modules"))
      .filter((name) => !name.startsWith("."))
      .sort(),
  ).toEqual(["bcrypt", "countersign", "node-addon-api", "node-gyp-build"]);
  const onToken = join(folder.path, "token.yaml");
  writeFileSync(
    onToken,
    "upstream: http://a\nissuer: {keys: {pkcs11: {library: a.so, token: a, pin: a, keys: [a]}}}\n",
  );
  const refused = run(process.execPath, [executable, "keys", "list", "-c", onToken]);
  await expect(refused).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining("npm install pkcs11js"),
  });
  const program = "import('countersign').then((library) => console.log(Object.keys(library).sort().join()))";
  const library = await run(process.execPath, ["-e", program], { cwd: folder.path });
  expect(library.stdout.trim()).toContain("createSidecar");

  // Types are known without the packages that the sources use. Those of Node.js are a program's own to install.
  symlinkSync(join(ROOT, "node_modules/@types"), join(folder.path, "node_modules/@types"));
  symlinkSync(join(ROOT, "node_modules/undici-types"), join(folder.path, "node_modules/undici-types"));
  writeFileSync(join(folder.path, "program.mts"), TYPED_PROGRAM);
  const compiler = join(ROOT, "node_modules/typescript/bin/tsc");
  const options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2024", "--types", "node"];
  const checked = await run(process.execPath, [compiler, ...options, "program.mts"], {
    cwd: folder.path,
  }).catch((error: { stdout: string }) => error);
  expect(checked.stdout).toBe("");
});

const TYPED_PROGRAM = `
import { type Config, createIssuer, createSidecar, loadConfig, type RequestFailure } from "countersign";
const issuer = await createIssuer({ url: "https://a", keys: { rotateEvery: "30d" }, identity: { account: "a" } });
const token: string = await issuer.signJwt({ subject: "a" });
const config: Config = (await loadConfig({ file: "sidecar.yaml" })).config;
createSidecar(config, { onFailure: ({ cause }: RequestFailure) => cause.length, onPolicyEvent: ({ key }) => key.length });
// @ts-expect-error
createIssuer({ url: token, algorithm: "HS256" });
// @ts-expect-error
createIssuer({ url: token, keys: { rotateEvery: true } });
// @ts-expect-error
createSidecar(config, { onPolicyEvent: ({ nothing }) => nothing });
`;

test("every package that is part of the program is named with its license", () => {
  const notices = readFileSync(join(ROOT, "dist/third-party-licenses.txt"), "utf8");
  const { packages } = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8")) as {
    packages: Record<string, { readonly version: string }>;
  };
  const named = new Map(
    [...notices.matchAll(/^(\S+) (\d+\.\d+\.\d+) \(\S+\)$/gm)].map(([, name = "", version]) => [
      name,
      version,
    ]),
  );
  for (const name of ["undici", "zod", "jose", "http-proxy-3", "pino", "@opentelemetry/api"])
    expect(named.get(name), name).toBe(packages[`node_modules/${name}`]?.version);
  // Texts of licenses, and not their names alone.
  expect(notices.split("Permission is hereby granted").length).toBeGreaterThan(20);
});

test("no code is kept where other users of the machine could write it", async () => {
  using folder = temporaryFolder();
  using temporary = temporaryFolder();
  const arguments_ = [
    "serve",
    "--upstream",
    "http://127.0.0.1:9",
    "--listen",
    "127.0.0.1:0",
    "--workers",
    "2",
  ];
  // Without the place that these tests have for it.
  const env = { TMPDIR: temporary.path, NODE_COMPILE_CACHE: "" };
  await using sidecar = await startCommand(arguments_, { cwd: folder.path, env });
  // It would be written at the end.
  const { code } = await sidecar.stop("SIGTERM");
  expect(code).toBe(0);
  expect(readdirSync(temporary.path)).toEqual([]);
});

test("an older Node.js is told what is needed, and how to get it", async () => {
  const pretend = 'data:text/javascript,Object.defineProperty(process.versions, "node", { value: "24.8.1" })';

  const failure = await run(process.execPath, ["--import", pretend, EXECUTABLE, "serve"]).catch(
    (error: unknown) => error,
  );

  expect(failure).toMatchObject({ code: 1, stdout: "" });
  expect((failure as { stderr: string }).stderr).toContain("countersign: needs Node.js 24.9 or newer");
  expect((failure as { stderr: string }).stderr).toContain(`npx -y -p node@26 node ${EXECUTABLE} serve`);
});
