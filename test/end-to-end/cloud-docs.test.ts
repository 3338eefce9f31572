import { expect, test } from "vitest";
import { type Config, parseConfig } from "../../src/index.ts";
import { readDocument } from "../support/documents.ts";
import { CLIENT, TENANT } from "../support/entra.ts";
import { PROVIDER, PROVIDER_AUDIENCE } from "../support/token-exchange.ts";

/** The blocks of code of a language on a page of docs/clouds. */
function blocksOf(page: string, language: string): string[] {
  const blocks = readDocument(`docs/clouds/${page}.md`).matchAll(
    new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm"),
  );
  return [...blocks].map(([, code = ""]) => code);
}

/** What the configuration of a page says that a token is. */
function tokenOf(page: string) {
  const [yaml = ""] = blocksOf(page, "yaml");
  const { config, warnings } = parseConfig(yaml, { file: "sidecar.yaml" });
  expect(warnings).toEqual([]);
  const { issuer, identity } = config as Config;
  const [file] = identity?.files ?? [];
  if (!file || issuer.url === undefined) throw new Error(`docs/clouds/${page}.md has no file, or no issuer`);
  expect(file.algorithm).toBe("RS256");
  return { issuer: issuer.url, ...file, audiences: identity?.audiences };
}

/** What the variables of a page are. */
function variablesOf(page: string): Map<string, string> {
  const [block = ""] = blocksOf(page, "sh");
  return new Map(
    block
      .trim()
      .split("\n")
      .map((line) => line.split("=") as [string, string]),
  );
}

test("the trust policy in docs/clouds/aws.md is for the token that its sidecar.yaml makes", () => {
  const { issuer, subject, audience, path } = tokenOf("aws");
  const name = issuer.replace("https://", "");
  const [policy = ""] = blocksOf("aws", "json");
  expect(JSON.parse(policy)).toMatchObject({
    Statement: [
      {
        Principal: { Federated: `arn:aws:iam::123456789012:oidc-provider/${name}` },
        Action: "sts:AssumeRoleWithWebIdentity",
        Condition: { StringEquals: { [`${name}:sub`]: subject, [`${name}:aud`]: audience } },
      },
    ],
  });
  const [create = ""] = blocksOf("aws", "console");
  expect(create).toContain(`--url ${issuer} --client-id-list ${audience}`);
  expect(variablesOf("aws").get("AWS_WEB_IDENTITY_TOKEN_FILE")).toBe(path);
});

test("the federated credential in docs/clouds/azure.md is for the token that its sidecar.yaml makes", () => {
  const { issuer, subject, audience, path, lifetimeSeconds } = tokenOf("azure");
  const [credential = ""] = blocksOf("azure", "json");
  expect(JSON.parse(credential)).toMatchObject({ issuer, subject, audiences: [audience] });
  const variables = variablesOf("azure");
  expect(variables.get("AZURE_FEDERATED_TOKEN_FILE")).toBe(path);
  for (const [name, example] of [
    ["AZURE_TENANT_ID", TENANT],
    ["AZURE_CLIENT_ID", CLIENT],
  ] as const)
    expect(variables.get(name)).toHaveLength(example.length);
  // The library keeps what it read for five minutes, and a fifth of the life is left when the file is written again.
  expect(lifetimeSeconds / 5).toBeGreaterThan(300);
});

test("the credential files in docs/clouds/google-cloud.md are for the token that its sidecar.yaml makes", () => {
  const { issuer, subject, audience, path, audiences } = tokenOf("google-cloud");
  expect([audience, audiences]).toEqual([PROVIDER_AUDIENCE, [PROVIDER_AUDIENCE]]);
  const [file, url] = blocksOf("google-cloud", "json").map((text) => JSON.parse(text));
  // As the library was given them in test/interop, but for token_url and the address.
  const common = {
    type: "external_account",
    audience: PROVIDER,
    subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
    token_url: "https://sts.googleapis.com/v1/token",
  };
  expect(file).toEqual({ ...common, credential_source: { file: path, format: { type: "text" } } });
  expect(url).toEqual({
    ...common,
    credential_source: {
      url: `http://127.0.0.1:8081/identity/token?format=json&audience=${PROVIDER_AUDIENCE}`,
      headers: { "X-Countersign-Identity": "true" },
      format: { type: "json", subject_token_field_name: "id_token" },
    },
  });
  const [create = ""] = blocksOf("google-cloud", "console");
  expect(create).toContain(`--issuer-uri ${issuer}`);
  expect(create).toContain(`assertion.sub == "${subject}"`);
});
