import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runHere } from "../cli/in-process.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { readDocument } from "../support/documents.ts";
import { startSidecar } from "../support/sidecar.ts";
import { AUDIENCE, withPayloadByteChanged } from "../support/tokens.ts";

const PAGE = readDocument("docs/troubleshooting.md");

test("the codes in docs/troubleshooting.md have the statuses that docs/errors.md says", () => {
  const errors = readDocument("docs/errors.md");
  const rows = [...PAGE.matchAll(/^\| (\d{3}) +\| `(ERR_\w+)`/gm)];
  expect(rows.length).toBeGreaterThan(10);
  for (const [, status, code] of rows)
    expect(errors, code).toMatch(new RegExp(`^\\| \`${code}\` +\\| ${status} `, "m"));
});

test("verify prints what docs/troubleshooting.md explains", async () => {
  using folder = temporaryFolder();
  await using sidecar = await startSidecar("http://127.0.0.1:9", { yaml: `token: {audience: ${AUDIENCE}}` });
  await using other = await startSidecar("http://127.0.0.1:9");
  const issuer = sidecar.issuer.url;
  const request = { subject: "api-gateway", audience: AUDIENCE, expiresIn: 60 };
  const good = await sidecar.issuer.signJwt(request);
  const defaultAudience = await sidecar.issuer.signJwt({
    ...request,
    audience: "http://127.0.0.1:8080/orders?page=2",
  });
  const outputOf = async (token: string, ...flags: string[]) => {
    const arguments_ = ["verify", token, "--audience", AUDIENCE, ...flags];
    return (await runHere(arguments_, { cwd: folder.path })).stderr;
  };
  const printed = {
    "valid for": await outputOf(good, "--issuer", issuer),
    "the JWK Set has no key for it": await outputOf(await other.issuer.signJwt(request), "--issuer", issuer),
    "its signature is not that of the key": await outputOf(withPayloadByteChanged(good), "--issuer", issuer),
    "the JWK Set cannot be read": await outputOf(good, "--jwks", "http://127.0.0.1:9/jwks.json"),
    "cannot be read": await outputOf(good, "--issuer", `${issuer}/other`),
    "is of another issuer": await outputOf(good, "--issuer", issuer.replace("127.0.0.1", "localhost")),
    'its claim aud is "http://127.0.0.1:8080/orders?page=2", and "https://orders.internal" is expected':
      await outputOf(defaultAudience, "--issuer", issuer),
    "its claim iss is": await outputOf(
      good,
      "--jwks",
      `${issuer}/.well-known/jwks.json`,
      "--issuer",
      "http://b",
    ),
  };
  for (const [text, output] of Object.entries(printed)) {
    expect(output).toContain(text);
    expect(PAGE).toContain(text);
  }
});

test("explain prints what docs/troubleshooting.md explains", async () => {
  using folder = temporaryFolder();
  writeFileSync(
    join(folder.path, "sidecar.yaml"),
    `upstream: http://127.0.0.1:9000
policies:
  - {name: health, match: {path: /healthz}, token: none}
  - {name: orders, match: {path: /orders}, token: {headerName: X-Service-Token, tokenPrefix: ""}}
`,
  );
  const explain = async (path: string) =>
    (await runHere(["explain", "GET", `http://127.0.0.1:8080${path}`], { cwd: folder.path })).stdout;
  expect(await explain("/healthz")).toMatch(/^forwarded {2}.*, without a token$/m);
  expect(await explain("/orders")).toMatch(/^token {6}X-Service-Token: …/m);
  expect(await explain("/orders/")).toContain("ERR_NO_POLICY");
});

test("validate prints what docs/troubleshooting.md shows", async () => {
  using folder = temporaryFolder();
  const yaml = "upstream: http://127.0.0.1:9000\n\n\n\n\n\ntoken: { audiance: https://orders.internal }\n";
  writeFileSync(join(folder.path, "sidecar.yaml"), yaml);
  const { stderr } = await runHere(["validate"], { cwd: folder.path });
  expect(PAGE).toContain(`$ countersign validate\n${stderr}`);
});
