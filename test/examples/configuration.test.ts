import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { loadConfig } from "../../src/index.ts";
import { AUDIENCE } from "../support/tokens.ts";

test("the examples' sidecar.yaml issues the tokens that their first lines say they accept", async () => {
  const file = fileURLToPath(new URL("../../examples/sidecar.yaml", import.meta.url));
  const { config } = await loadConfig({ file });
  expect(config.upstream.origin).toBe("http://127.0.0.1:9000");
  expect(config.issuer).toMatchObject({ url: "http://127.0.0.1:8080/__issuer", algorithm: "ES256" });
  expect(config.policies).toMatchObject([{ token: { audience: { kind: "literal", value: AUDIENCE } } }]);
});
