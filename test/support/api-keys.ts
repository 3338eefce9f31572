import { hash } from "node:crypto";
import { noteSecret } from "./secrets.ts";

/** An entry of `keys` of an apiKey authenticator, in YAML. */
export function apiKeyEntry(key: string, subject: string, more = ""): string {
  noteSecret(key);
  return `{subject: ${subject}, sha256: ${hash("sha256", key)}${more && `, ${more}`}}`;
}
