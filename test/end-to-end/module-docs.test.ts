import { execFile } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { decodeJwt } from "jose";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { startBackend } from "../support/backend.ts";
import { startCommand, temporaryFolder } from "../support/command-line.ts";
import { blocksOf } from "../support/documents.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PAGE = "docs/modules.md";
/** The key of acme in docs/authenticators/api-key.md. */
const KEY = "csk_PP7hPEiJZiCXyFJ8ChYivIe4l7DbikLfE7A2Bm2ozLw2nHH5L";

/** A real sidecar with the first configuration of the page, and this module for its policy. */
async function startWith(module: { readonly name: string; readonly text: string }) {
  await using started = new AsyncDisposableStack();
  const folder = started.use(temporaryFolder());
  const backend = started.use(await startBackend());
  mkdirSync(join(folder.path, "policies"));
  writeFileSync(join(folder.path, "policies", module.name), module.text);
  const yaml = (blocksOf(PAGE, "yaml")[0] as string).replace("tenant.mjs", module.name);
  const file = { ...parse(yaml), listen: "127.0.0.1:0", upstream: backend.url };
  writeFileSync(
    join(folder.path, "sidecar.yaml"),
    stringify({ ...file, issuer: { keys: { ephemeral: true } } }),
  );
  const sidecar = started.use(await startCommand(["serve"], { cwd: folder.path }));
  const running = started.move();
  return {
    /** The token's claims, or why there is none. */
    async ask(method = "GET") {
      const response = await fetch(`${sidecar.url}/orders/eu`, { method, headers: { "x-api-key": KEY } });
      const body = await response.text();
      const token = backend.requests.at(-1)?.headers.authorization?.replace("Bearer ", "") ?? "";
      return response.ok ? decodeJwt(token) : (JSON.parse(body) as Record<string, unknown>);
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

test("the module in docs/modules.md puts the tenant into the token, remembers it, and refuses", async () => {
  const asked: string[] = [];
  let answer: object | undefined = { id: "acme", plan: "gold", suspended: false };
  await using directory = await startBackend((request, response) => {
    asked.push(request.url ?? "");
    if (!answer) response.writeHead(404);
    response.end(JSON.stringify(answer));
  });
  const text = (blocksOf(PAGE, "js")[0] as string).replace("http://127.0.0.1:9100", directory.url);
  const module = { name: "tenant.mjs", text };
  {
    await using sidecar = await startWith(module);
    for (let i = 0; i < 2; i++)
      expect(await sidecar.ask()).toMatchObject({ sub: "acme-batch", tenant: "acme", plan: "gold" });
    expect(asked).toEqual(["/tenants/acme-batch"]);
  }
  for (const [tenant, detail] of [
    [{ id: "acme", plan: "gold", suspended: true }, "the tenant acme is suspended"],
    [undefined, "you belong to no tenant"],
  ] as const) {
    answer = tenant;
    await using sidecar = await startWith(module);
    expect(await sidecar.ask()).toMatchObject({ status: 403, code: "ERR_DENIED", detail });
  }
  await directory[Symbol.asyncDispose]();
  await using sidecar = await startWith(module);
  expect(await sidecar.ask()).toMatchObject({ status: 503, code: "ERR_MODULE_FAILED" });
});

test("the TypeScript module in docs/modules.md runs as it is", async () => {
  await using sidecar = await startWith({ name: "region.mts", text: blocksOf(PAGE, "ts")[0] as string });
  expect(await sidecar.ask()).toMatchObject({ sub: "acme-batch", region: "eu" });
  expect(await sidecar.ask("DELETE")).toMatchObject({ code: "ERR_DENIED", detail: "only admins delete" });
});

test("the modules in docs/modules.md fit the types of the package", async () => {
  using folder = temporaryFolder();
  mkdirSync(join(folder.path, "node_modules"));
  symlinkSync(ROOT, join(folder.path, "node_modules", "countersign"));
  symlinkSync(join(ROOT, "node_modules", "@types"), join(folder.path, "node_modules", "@types"));
  const [js = "", ts = ""] = [blocksOf(PAGE, "js")[0], blocksOf(PAGE, "ts")[0]];
  writeFileSync(join(folder.path, "tenant.mjs"), js);
  writeFileSync(join(folder.path, "region.mts"), ts);
  const options = "--noEmit --strict --checkJs --skipLibCheck --module nodenext --target es2024 --types node";
  const check = (...files: string[]) =>
    promisify(execFile)(
      process.execPath,
      [join(ROOT, "node_modules/typescript/bin/tsc"), ...options.split(" "), ...files],
      { cwd: folder.path },
    ).then(
      ({ stdout }) => stdout,
      ({ stdout }) => stdout,
    );
  expect(await check("tenant.mjs", "region.mts")).toBe("");

  writeFileSync(join(folder.path, "typo.mts"), ts.replace("{ deny:", "{ denied:"));
  expect(await check("typo.mts")).toContain("'denied' does not exist in type");
});
