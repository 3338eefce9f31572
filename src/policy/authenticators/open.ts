import { CountersignError, reasonOf } from "../../errors.ts";
import { type ApiKeysReader, openApiKey } from "./api-key.ts";
import type { Authenticator, Surroundings } from "./authenticator.ts";
import { openBasic } from "./basic.ts";
import { openClientCertificate } from "./client-certificate.ts";
import { openJwt } from "./jwt.ts";
import type { AuthenticatorOptions } from "./options.ts";
import { createTrustedHeader } from "./trusted-header.ts";

/** What {@link openAuthenticators} needs beside the options. */
export interface OpenAuthenticatorsOptions extends Surroundings {
  readonly readApiKeys: ApiKeysReader;
}

/** An authenticator that cannot be opened. */
export class AuthenticatorError extends CountersignError {
  /** Its key under `authenticators`. */
  readonly authenticator: string;

  constructor(authenticator: string, cause: unknown) {
    super("ERR_AUTHENTICATOR", `authenticators.${authenticator}: ${reasonOf(cause)}`, { cause });
    this.authenticator = authenticator;
  }
}

/**
 * Opens every authenticator of a configuration; the files that they name are read and watched.
 *
 * @returns the authenticators by name
 * @throws {AuthenticatorError} ERR_AUTHENTICATOR when a file cannot be read or used
 * @throws {CountersignError} what `readApiKeys` throws
 */
export async function openAuthenticators(
  byName: Readonly<Record<string, AuthenticatorOptions>>,
  options: OpenAuthenticatorsOptions,
): Promise<ReadonlyMap<string, Authenticator>> {
  const opened = new Map<string, Authenticator>();
  try {
    for (const [name, one] of Object.entries(byName))
      opened.set(
        name,
        await open(name, one, options).catch((error: unknown) => {
          throw error instanceof CountersignError ? error : new AuthenticatorError(name, error);
        }),
      );
  } catch (error) {
    for (const authenticator of opened.values()) authenticator.close();
    throw error;
  }
  return opened;
}

async function open(
  name: string,
  options: AuthenticatorOptions,
  surroundings: OpenAuthenticatorsOptions,
): Promise<Authenticator> {
  switch (options.type) {
    case "apiKey":
      return openApiKey(name, options, surroundings, surroundings.readApiKeys);
    case "jwt":
      return openJwt(name, options, surroundings);
    case "basic":
      return openBasic(name, options, surroundings);
    case "clientCertificate":
      return openClientCertificate(name, options, surroundings);
    case "trustedHeader":
      return createTrustedHeader(name, options);
  }
}
