import { IdentityPoolClient, type IdentityPoolClientOptions } from "google-auth-library";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startBackend } from "../support/backend.ts";
import {
  kidOf,
  passTime,
  publishedKids,
  startRotatingSidecar,
  startRotation,
  withdrawKey,
} from "../support/rotation.ts";
import { PROVIDER, PROVIDER_AUDIENCE, startTokenExchange } from "../support/token-exchange.ts";

/** What a credential configuration says about the answer, by the `format` that is asked for. */
const FORMATS = {
  text: { type: "text" },
  json: { type: "json", subject_token_field_name: "id_token" },
} as const;

// Where the environment names a proxy, the library asks even this machine through it.
beforeEach(() => void vi.stubEnv("NO_PROXY", "127.0.0.1"));
afterEach(() => void vi.unstubAllEnvs());

test.each(["text", "json"] as const)(
  "google-auth-library gets an access token for an identity token that it reads as %s",
  async (format) => {
    await using deployment = await startDeployment();

    const { token } = await deployment.createClient({ format }).getAccessToken();

    expect(token).toBe("access-token-1");
    expect(deployment.tokenExchange.accepted).toMatchObject([
      {
        claims: {
          iss: deployment.sidecar.issuer.url,
          sub: "acme/shop/blue",
          aud: PROVIDER_AUDIENCE,
          account: "acme",
          project: "shop",
          deployment: "blue",
          environment_type: "production",
        },
      },
    ]);
  },
);

test("google-auth-library gets access tokens before, during and after a rotation of the identity key", async () => {
  await using deployment = await startDeployment();
  const { sidecar, tokenExchange } = deployment;
  const client = deployment.createClient();
  /** The identity token that the client's next access token was got for; an earlier access token has expired. */
  const nextSubjectToken = async () => {
    const { length } = tokenExchange.accepted;
    await client.getAccessToken();
    expect(tokenExchange.accepted).toHaveLength(length + 1);
    return tokenExchange.accepted.at(-1)?.token ?? "";
  };

  const before = await nextSubjectToken();
  const kidsBefore = await publishedKids(sidecar);
  const { pendingSeconds, retiringSeconds } = await startRotation(sidecar, "identity");
  const kidsDuring = await publishedKids(sidecar);
  const oldKid = kidOf(before);
  const newKid = kidsDuring.find((kid) => !kidsBefore.includes(kid));

  passTime(3600);
  expect(kidOf(await nextSubjectToken())).toBe(oldKid);

  passTime(pendingSeconds - 3600 - 1);
  const last = await nextSubjectToken();
  expect(kidOf(last)).toBe(oldKid);

  passTime(3600);
  expect(kidOf(await nextSubjectToken())).toBe(newKid);
  expect((await tokenExchange.exchange(last)).status).toBe(200);

  passTime(retiringSeconds);
  expect(await publishedKids(sidecar)).not.toContain(oldKid);
  expect(kidOf(await nextSubjectToken())).toBe(newKid);
});

test("a token exchange refuses an identity token whose key was withdrawn, and accepts the next one", async () => {
  await using deployment = await startDeployment();
  const { sidecar, tokenExchange } = deployment;
  await deployment.createClient().getAccessToken();
  const withdrawn = tokenExchange.accepted.at(-1)?.token ?? "";

  await withdrawKey(sidecar, "identity");
  passTime(60);
  await deployment.createClient().getAccessToken();
  const refusal = await tokenExchange.exchange(withdrawn);

  expect(refusal.status).toBe(400);
  expect(await refusal.json()).toMatchObject({
    error_description: "no applicable key found in the JSON Web Key Set",
  });
});

test("google-auth-library gets no access token for an identity token for somebody else", async () => {
  await using deployment = await startDeployment();
  const client = deployment.createClient({ audience: "https://elsewhere.example" });

  await expect(client.getAccessToken()).rejects.toThrow('invalid_request: unexpected "aud" claim value');
});

test("google-auth-library gets no identity token without the field X-Countersign-Identity", async () => {
  await using deployment = await startDeployment();
  const client = deployment.createClient({ headers: {} });

  await expect(client.getAccessToken()).rejects.toMatchObject({
    response: { status: 403 },
    message: expect.stringContaining("ERR_IDENTITY_REQUEST_REFUSED"),
  });
  expect(deployment.tokenExchange.accepted).toEqual([]);
});

/** What a test changes in a client. */
interface ClientOptions {
  readonly format?: keyof typeof FORMATS;
  readonly audience?: string;
  readonly headers?: Record<string, string>;
}

/** A sidecar that knows which deployment it stands in, and a token exchange that trusts it. */
async function startDeployment() {
  const backend = await startBackend();
  const sidecar = await startRotatingSidecar(backend.url, {
    yaml: `
admin: 127.0.0.1:0
identity: {account: acme, project: shop, deployment: blue, environment_type: production}`,
  });
  const tokenExchange = await startTokenExchange({ issuer: sidecar.issuer.url, subject: "acme/shop/blue" });
  return {
    sidecar,
    tokenExchange,

    /** Another one keeps another access token. */
    createClient({
      format = "text",
      audience = PROVIDER_AUDIENCE,
      headers = { "X-Countersign-Identity": "true" },
    }: ClientOptions = {}) {
      // As `gcloud iam workload-identity-pools create-cred-config` writes it, but for token_url. The library takes any.
      const configuration: IdentityPoolClientOptions = {
        type: "external_account",
        audience: PROVIDER,
        subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
        token_url: tokenExchange.tokenUrl,
        credential_source: {
          url: `${sidecar.adminUrl}/identity/token?${new URLSearchParams({ audience, format })}`,
          headers,
          format: FORMATS[format],
        },
      };
      return new IdentityPoolClient(configuration);
    },

    async [Symbol.asyncDispose]() {
      await tokenExchange[Symbol.asyncDispose]();
      await sidecar[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
    },
  };
}
