import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { fromTokenFile } from "@aws-sdk/credential-provider-web-identity";
import { afterEach, beforeAll, expect, test, vi } from "vitest";
import { type AwsSts, ROLE, startAwsSts } from "../support/aws-sts.ts";
import {
  BAD_TOKEN_ROWS,
  type FederatedDeployment,
  startFederatedDeployment,
} from "../support/federated-deployment.ts";
import { kidOf } from "../support/rotation.ts";

let deployment: FederatedDeployment;
let sts: AwsSts;
beforeAll(async () => {
  deployment = await startFederatedDeployment("sts.amazonaws.com");
  sts = await startAwsSts(deployment.trust);
  return async () => {
    await sts[Symbol.asyncDispose]();
    await deployment[Symbol.asyncDispose]();
  };
});
afterEach(() => void vi.unstubAllEnvs());

/** A client in a process that has nothing but these variables. */
function createClient({ tokenFile = deployment.tokenFile, role = ROLE } = {}): STSClient {
  const variables = {
    AWS_ROLE_ARN: role,
    AWS_WEB_IDENTITY_TOKEN_FILE: tokenFile,
    AWS_ROLE_SESSION_NAME: "orders",
    AWS_REGION: "eu-central-1",
    AWS_ENDPOINT_URL_STS: sts.url,
    // Not those of whoever runs the test.
    AWS_CONFIG_FILE: "/dev/null",
    AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
  };
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
  return new STSClient({ credentials: fromTokenFile() });
}

const callerOf = async (client: STSClient) => (await client.send(new GetCallerIdentityCommand())).Arn;

test("the AWS SDK gets credentials of the role for the token in the file, and uses them", async () => {
  expect(await callerOf(createClient())).toBe("arn:aws:sts::123456789012:assumed-role/orders/orders");
  expect(sts.accepted.at(-1)).toMatchObject({
    token: deployment.token(),
    claims: {
      iss: deployment.sidecar.issuer.url,
      sub: "acme/shop/blue",
      aud: "sts.amazonaws.com",
      environment_type: "production",
    },
  });
});

test("the AWS SDK gets credentials for a token of the next key after a rotation, and for the last of the old one", async () => {
  const last = await deployment.rotate();
  const next = deployment.token();
  expect(kidOf(next)).not.toBe(kidOf(last));
  await callerOf(createClient());
  await callerOf(createClient({ tokenFile: deployment.fileWith(last) }));
  expect(sts.accepted.slice(-2).map(({ token }) => token)).toEqual([next, last]);
});

test("the AWS SDK gets none for a token whose key was withdrawn, and some for the next one", async () => {
  const withdrawn = deployment.token();
  await deployment.withdraw();
  const client = createClient({ tokenFile: deployment.fileWith(withdrawn) });
  await expect(callerOf(client)).rejects.toThrow(/no applicable key found/);
  expect(await callerOf(createClient())).toContain("assumed-role/orders");
});

test.each(BAD_TOKEN_ROWS)("the AWS SDK gets no credentials for a token %s", async (kind, reason) => {
  const { length } = sts.accepted;
  const client = createClient({ tokenFile: deployment.fileWith(await deployment.badToken(kind)) });
  await expect(callerOf(client)).rejects.toMatchObject({
    name: "InvalidIdentityTokenException",
    message: expect.stringMatching(reason),
  });
  expect(sts.accepted).toHaveLength(length);
});

test("the AWS SDK gets no credentials of a role that does not trust the issuer", async () => {
  const client = createClient({ role: ROLE.replace("orders", "billing") });
  await expect(callerOf(client)).rejects.toThrow("Not authorized to perform sts:AssumeRoleWithWebIdentity");
});
