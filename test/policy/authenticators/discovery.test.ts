import { expect, test } from "vitest";
import { discoverJwksUri } from "../../../src/policy/authenticators/discovery.ts";

const ISSUER = "https://login.example.com";

/** Discovery at a provider whose metadata is as given. */
function discover(jwksUri: string, issuer = ISSUER): Promise<URL> {
  const text = JSON.stringify({ issuer, jwks_uri: jwksUri });
  return discoverJwksUri(issuer, async (url) => ({ url, status: 200, text }));
}

test("the keys may be on another host than the issuer", async () => {
  expect(String(await discover("https://keys.example.net/v3/certs"))).toBe(
    "https://keys.example.net/v3/certs",
  );
});

test.each(["http://login.example.com/jwks", "HTTP://login.example.com/jwks"])(
  "the keys of an https issuer are never fetched over http: %s",
  async (jwksUri) => {
    await expect(discover(jwksUri)).rejects.toThrow(
      "https://login.example.com/.well-known/openid-configuration: its jwks_uri is not https, and the issuer is",
    );
  },
);

test("a jwks_uri with a user name is refused", async () => {
  await expect(discover("https://user@keys.example.net/")).rejects.toThrow(/no jwks_uri/);
});

test("the keys of an http issuer may be fetched over https", async () => {
  expect((await discover("https://keys.example.net/", "http://login.internal")).protocol).toBe("https:");
});

test("where neither kind of metadata is found, the first place is named", async () => {
  const asked: string[] = [];
  const found = discoverJwksUri(`${ISSUER}/tenants/acme/`, async (url) => {
    asked.push(String(url));
    return { url, status: 404, text: "" };
  });
  await expect(found).rejects.toThrow(`${ISSUER}/tenants/acme/.well-known/openid-configuration`);
  expect(asked).toEqual([
    `${ISSUER}/tenants/acme/.well-known/openid-configuration`,
    `${ISSUER}/.well-known/oauth-authorization-server/tenants/acme`,
  ]);
});
