import { execFile } from "node:child_process";
import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { runCommand, temporaryFolder } from "../support/command-line.ts";
import { PYTHON, PYTHON_WITH_PYJWT, requireProgram } from "../support/programs.ts";
import { startSidecar } from "../support/sidecar.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const README = readFileSync(join(ROOT, "README.md"), "utf8");

/** The first block of code in this language. */
function blockOf(language: string): string {
  const block = README.match(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "m"))?.[1];
  expect(block, `a block of ${language}`).toBeDefined();
  return block ?? "";
}

/** The README's sidecar, on a free port, before a recorder; and the Authorization field that it sends there. */
async function readmeToken() {
  const backend = await startBackend();
  const yaml = blockOf("yaml")
    .replace(/^(?:listen|upstream):.*\n/gm, "")
    .replace(/^issuer:\n(?: .*\n)+/m, "");
  const sidecar = await startSidecar(backend.url, { yaml });
  await fetch(`${sidecar.url}/orders/42`);
  return {
    issuer: sidecar.issuer.url,
    authorization: backend.requests[0]?.headers.authorization ?? "",
    async [Symbol.asyncDispose]() {
      await sidecar.close();
      await backend[Symbol.asyncDispose]();
    },
  };
}

function withIssuer(program: string, issuer: string): string {
  expect(program).toContain("http://127.0.0.1:8080/__issuer");
  return program.replace("http://127.0.0.1:8080/__issuer", issuer);
}

test("the configuration in the README is valid, and its typo is told as shown there", async () => {
  using folder = temporaryFolder();
  const file = join(folder.path, "sidecar.yaml");
  const yaml = blockOf("yaml");

  writeFileSync(file, yaml);
  expect(await runCommand(["validate"], { cwd: folder.path })).toMatchObject({ code: 0, stderr: "" });

  writeFileSync(file, yaml.replace("audience: https://reports", "audiance: https://reports"));
  const { code, stderr } = await runCommand(["validate"], { cwd: folder.path });
  expect(code).toBe(1);
  expect(README.match(/^\$ countersign validate\n(.*\n)/m)?.[1]).toBe(stderr);
});

test("the README's Node.js backend verifies the token of the README's configuration", async () => {
  await using token = await readmeToken();
  using folder = temporaryFolder();
  symlinkSync(join(ROOT, "node_modules"), join(folder.path, "node_modules"));
  const file = join(folder.path, "backend.mjs");
  writeFileSync(file, withIssuer(blockOf("js"), token.issuer));

  const { callerOf } = await import(/* @vite-ignore */ pathToFileURL(file).href);

  expect(await callerOf({ headers: { authorization: token.authorization } })).toBe("api-gateway");
  await expect(callerOf({ headers: {} })).rejects.toThrow();
});

test("the README's Python backend verifies the token of the README's configuration", async (context) => {
  requireProgram(context, PYTHON_WITH_PYJWT);
  await using token = await readmeToken();
  const program = `${withIssuer(blockOf("python"), token.issuer)}\nimport sys\nprint(caller_of(sys.argv[1]))\n`;

  const { stdout } = await promisify(execFile)(PYTHON, ["-c", program, token.authorization]);

  expect(stdout).toBe("api-gateway\n");
});
