import { type FetchedDocument, shown, textOf } from "./fetch-document.ts";
import { jsonObjectOf } from "./verification-keys.ts";

/**
 * Finds out where the keys of an issuer are: OpenID Connect Discovery 1.0 §4, or RFC 8414 where that is not found.
 *
 * @param issuer an http or https URL
 * @throws {Error} when there is no metadata, or none that can be believed
 */
export async function discoverJwksUri(
  issuer: string,
  fetch: (url: URL) => Promise<FetchedDocument>,
): Promise<URL> {
  const openId = await fetch(new URL(`${withoutSlash(issuer)}/.well-known/openid-configuration`));
  const document = openId.status === 404 ? await oauthMetadata(issuer, fetch, openId) : openId;
  const refused = (problem: string) => new Error(`${shown(document.url)}: ${problem}`);

  const metadata = jsonObjectOf(textOf(document));
  if (!metadata) throw refused("the answer is not a JSON object");
  // Without a look at it any metadata that is served there could name its own keys (§4.3).
  if (metadata.issuer !== issuer) throw refused("it is of another issuer");
  const jwksUri = typeof metadata.jwks_uri === "string" ? URL.parse(metadata.jwks_uri) : null;
  if (!jwksUri || !["http:", "https:"].includes(jwksUri.protocol) || jwksUri.username || jwksUri.password)
    throw refused("it has no jwks_uri that is an http or https URL");
  if (jwksUri.protocol === "http:" && new URL(issuer).protocol === "https:")
    throw refused("its jwks_uri is not https, and the issuer is");
  return jwksUri;
}

/** RFC 8414 §3.1: what says "well-known" stands between the host and the path. */
async function oauthMetadata(
  issuer: string,
  fetch: (url: URL) => Promise<FetchedDocument>,
  openId: FetchedDocument,
): Promise<FetchedDocument> {
  const { origin, pathname } = new URL(issuer);
  const path = withoutSlash(pathname);
  const document = await fetch(new URL(`${origin}/.well-known/oauth-authorization-server${path}`));
  return document.status === 200 ? document : openId;
}

function withoutSlash(text: string): string {
  return text.endsWith("/") ? text.slice(0, -1) : text;
}
