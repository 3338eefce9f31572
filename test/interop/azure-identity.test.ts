import { WorkloadIdentityCredential, type WorkloadIdentityCredentialOptions } from "@azure/identity";
import { afterEach, beforeAll, expect, test, vi } from "vitest";
import { CLIENT, type Entra, SCOPE, startEntra, TENANT } from "../support/entra.ts";
import {
  BAD_TOKEN_ROWS,
  type FederatedDeployment,
  startFederatedDeployment,
} from "../support/federated-deployment.ts";
import { kidOf } from "../support/rotation.ts";

let deployment: FederatedDeployment;
let entra: Entra;
beforeAll(async () => {
  deployment = await startFederatedDeployment("api://AzureADTokenExchange");
  entra = await startEntra(deployment.trust);
  return async () => {
    await entra[Symbol.asyncDispose]();
    await deployment[Symbol.asyncDispose]();
  };
});
afterEach(() => void vi.unstubAllEnvs());

/** A credential in a process that has nothing but these variables. Another one keeps another access token. */
function createCredential({ tokenFile = deployment.tokenFile, client = CLIENT } = {}) {
  const variables = {
    AZURE_TENANT_ID: TENANT,
    AZURE_CLIENT_ID: client,
    AZURE_FEDERATED_TOKEN_FILE: tokenFile,
    AZURE_AUTHORITY_HOST: entra.authorityHost,
    // Where the environment names a proxy, the library asks even this machine through it.
    NO_PROXY: "127.0.0.1",
  };
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
  // The two things in which the stub is not Entra: its certificate is of another CA, and it is none of the authorities that
  // the library knows or asks login.microsoftonline.com about.
  const options: WorkloadIdentityCredentialOptions & { tlsOptions: { ca: string } } = {
    disableInstanceDiscovery: true,
    tlsOptions: { ca: entra.ca },
  };
  return new WorkloadIdentityCredential(options);
}

test("@azure/identity gets an access token for the token in the file", async () => {
  const accessToken = await createCredential().getToken(SCOPE);
  expect(accessToken.token).toBe(`access-token-${entra.accepted.length}`);
  expect(entra.accepted.at(-1)).toMatchObject({
    token: deployment.token(),
    claims: {
      iss: deployment.sidecar.issuer.url,
      sub: "acme/shop/blue",
      aud: "api://AzureADTokenExchange",
      environment_type: "production",
    },
  });
});

test("@azure/identity gets access tokens for a token of the next key after a rotation, and for the last of the old one", async () => {
  const last = await deployment.rotate();
  const next = deployment.token();
  expect(kidOf(next)).not.toBe(kidOf(last));
  await createCredential().getToken(SCOPE);
  await createCredential({ tokenFile: deployment.fileWith(last) }).getToken(SCOPE);
  expect(entra.accepted.slice(-2).map(({ token }) => token)).toEqual([next, last]);
});

test("@azure/identity gets none for a token whose key was withdrawn, and one for the next", async () => {
  const withdrawn = deployment.token();
  await deployment.withdraw();
  const credential = createCredential({ tokenFile: deployment.fileWith(withdrawn) });
  await expect(credential.getToken(SCOPE)).rejects.toThrow(/no applicable key found/);
  expect((await createCredential().getToken(SCOPE)).token).toMatch(/^access-token-/);
});

test.each(BAD_TOKEN_ROWS)("@azure/identity gets no access token for a token %s", async (kind, reason) => {
  const { length } = entra.accepted;
  const credential = createCredential({ tokenFile: deployment.fileWith(await deployment.badToken(kind)) });
  await expect(credential.getToken(SCOPE)).rejects.toThrow(reason);
  expect(entra.accepted).toHaveLength(length);
});

test("@azure/identity gets no access token for an application without the federated credential", async () => {
  const credential = createCredential({ client: CLIENT.replace("a", "b") });
  await expect(credential.getToken(SCOPE)).rejects.toThrow(/AADSTS900144/);
});
