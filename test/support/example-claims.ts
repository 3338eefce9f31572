import { expect } from "vitest";
import type { RunningExample } from "./example.ts";
import { AUDIENCE, withPayloadByteChanged } from "./tokens.ts";

/** Claims that a request through the sidecar is answered, by a backend which read the claims of its token. */
export async function expectRequestIsAnswered({ sidecar }: RunningExample): Promise<void> {
  const response = await sidecar.request();
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({
    hello: "api-gateway",
    claims: { iss: sidecar.issuer.url, aud: AUDIENCE },
  });
}

/** Claims that every request is answered 401 which did not come through the sidecar, or not with the right token. */
export async function expectOthersAreRefused({ sidecar, url }: RunningExample): Promise<void> {
  const token = await sidecar.issuer.signJwt({
    subject: "api-gateway",
    audience: AUDIENCE,
    expiresIn: 60,
  });
  const direct = (headers: Record<string, string>) => fetch(`${url}/orders`, { headers });
  const answers = {
    // The token is right, so that what is wrong with the others is what the backend refuses.
    "direct, with the token": await direct({ authorization: `Bearer ${token}` }),
    "direct, without a token": await direct({}),
    "direct, with something else": await direct({ authorization: "Bearer something-else" }),
    "direct, with a changed token": await direct({
      authorization: `Bearer ${withPayloadByteChanged(token)}`,
    }),
    "for another audience": await sidecar.request("for another audience"),
    "of another issuer": await sidecar.request("of another issuer"),
    "that expired": await sidecar.request("that expired"),
  };
  const statuses = Object.entries(answers).map(([name, { status }]) => [name, status]);
  expect(Object.fromEntries(statuses)).toEqual({
    "direct, with the token": 200,
    "direct, without a token": 401,
    "direct, with something else": 401,
    "direct, with a changed token": 401,
    "for another audience": 401,
    "of another issuer": 401,
    "that expired": 401,
  });
}

/** Claims that the backend refuses even a right token, as its algorithm is not on the backend's list. */
export async function expectAlgorithmIsRefused({ sidecar }: RunningExample): Promise<void> {
  expect((await sidecar.request()).status).toBe(401);
}
