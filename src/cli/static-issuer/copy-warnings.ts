import type { PublicJwk } from "../../issuer/keys/signing-key.ts";

/** What is doubtful about a static issuer for clouds. */
export function copyWarningsOf(url: string, published: readonly PublicJwk[]): string[] {
  const warnings: string[] = [];
  if (!url.startsWith("https:"))
    warnings.push(
      `issuer.url is ${url}: clouds fetch over https alone, and whoever is on the way could put other keys there`,
    );
  if (!published.some(({ alg }) => alg === "RS256")) {
    const algorithms = [...new Set(published.map(({ alg }) => alg))].join(", ");
    warnings.push(
      `the keys are for ${algorithms}, and AWS, Azure and Google Cloud want RS256; configure identity, or issuer.algorithm: RS256`,
    );
  }
  return warnings;
}
