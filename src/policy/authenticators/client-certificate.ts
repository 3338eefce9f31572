import type { Authenticator, Surroundings } from "./authenticator.ts";
import type { ClientCertificateOptions } from "./options.ts";

export async function openClientCertificate(
  _name: string,
  _options: ClientCertificateOptions,
  _surroundings: Surroundings,
): Promise<Authenticator> {
  throw new Error("to be built");
}
