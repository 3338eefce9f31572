import { expect, test } from "vitest";
import { credentialMask } from "../../src/cli/secrets.ts";
import { parseConfig } from "../../src/index.ts";

const { config } = parseConfig(
  `upstream: http://127.0.0.1:9000
authenticators:
  bearer: {type: apiKey, keys: []}
  query: {type: apiKey, query: key, keys: []}
authenticate: [bearer, query]
`,
  { file: "sidecar.yaml" },
);

test.each([
  ["Bearer secret-of-acme", "it was Bearer secret-of-acme", "it was …"],
  ["Bearer secret-of-acme", "it was secret-of-acme", "it was …"],
  // A key without its scheme is no less a key.
  ["secret-of-acme", "it was secret-of-acme", "it was …"],
  // The scheme alone is nothing to hide.
  ["Bearer", "Bearer", "Bearer"],
  ["Bearer ", "Bearer", "Bearer"],
])("of the field %j the text %j is shown as %j", (authorization, text, shown) => {
  const mask = credentialMask(config, {
    rawFields: ["Authorization", authorization],
    requestTarget: "/",
  });
  expect(mask(text)).toBe(shown);
});

test("a key in the query is told by its parameter, however it is encoded", () => {
  const requestTarget = "/a?x=1&k%65y=secret%2Dof%2Dacme";
  expect(credentialMask(config, { rawFields: [], requestTarget })(requestTarget)).toBe("/a?x=1&k%65y=…");
});
