import { createRemoteJWKSet, jwtVerify } from "jose";
import { expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startSidecar } from "../support/sidecar.ts";

test("the backend gets one token, which verifies with the published keys", async () => {
  await using backend = await startBackend();
  await using sidecar = await startSidecar(backend.url);

  const response = await fetch(`${sidecar.url}/orders/42?q=1`, { headers: { authorization: "Bearer mine" } });

  expect(await response.text()).toBe("ok");
  const [, token = ""] = backend.requests[0]?.headers.authorization?.split("Bearer ") ?? [];
  const keys = createRemoteJWKSet(new URL(sidecar.issuer.metadata().jwks_uri));
  const { payload } = await jwtVerify(token, keys, { issuer: sidecar.issuer.url });
  expect(payload).toMatchObject({ sub: "api-gateway", aud: `${sidecar.url}/orders/42?q=1` });
});
