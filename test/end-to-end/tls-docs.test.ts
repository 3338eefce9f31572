import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import {
  clientCertificateOptionsOf,
  clientCertificateProblem,
  clientCertificateSection,
} from "../../src/config/authenticators/client-certificate.ts";
import { listenOptionsOf, listenSection } from "../../src/config/listen-section.ts";
import { createSidecar, loadConfig } from "../../src/index.ts";
import { startBackend } from "../support/backend.ts";
import { createCa, issueForServer, writeTlsFiles } from "../support/certificates.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { get } from "../support/tls-sidecar.ts";

/** The blocks of code of a language in a document. */
function blocksOf(document: string, language: string): string[] {
  const text = readFileSync(new URL(`../../${document}`, import.meta.url), "utf8");
  const blocks = [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm"))];
  expect(blocks.length, `blocks of ${language} in ${document}`).toBeGreaterThan(0);
  return blocks.map(([, code = ""]) => code);
}

test("the configuration in docs/tls.md is valid, and its curl command reaches the backend", async () => {
  await using backend = await startBackend();
  using folder = temporaryFolder();
  const ca = await createCa();
  writeTlsFiles(folder.path, await issueForServer(ca), ca);
  const [yaml = ""] = blocksOf("docs/tls.md", "yaml");
  const file = join(folder.path, "sidecar.yaml");
  writeFileSync(file, yaml);
  expect((await loadConfig({ file })).warnings).toEqual([]);

  const { config } = await loadConfig({ file, listen: "127.0.0.1:0", upstream: backend.url });
  const sidecar = createSidecar(config);
  const { url } = await sidecar.start();
  const [, path] = /curl --cacert tls\.crt https:\/\/localhost:8443(\S+)/.exec(
    blocksOf("docs/tls.md", "console").join(""),
  ) ?? [undefined, "no curl command"];
  const { status } = await get(`${url}${path}`, { ca });
  await sidecar.close();

  expect(status).toBe(200);
  expect(backend.requests.map((request) => request.url)).toEqual(["/orders"]);
});

test("each authenticator in docs/authenticators/client-certificate.md goes with the listener beside it", () => {
  const read = blocksOf("docs/authenticators/client-certificate.md", "yaml").map((yaml) => {
    const { listen, authenticators } = parse(yaml);
    const section = clientCertificateSection.parse(authenticators.mesh);
    const problem = clientCertificateProblem(section, listenOptionsOf(listenSection.parse(listen), "/"));
    return [clientCertificateOptionsOf(section).from, problem];
  });
  expect(read).toEqual([
    [undefined, undefined],
    [["127.0.0.1", "10.0.0.0/8"], undefined],
  ]);
});
