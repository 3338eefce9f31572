import { CountersignError, reasonOf } from "../../errors.ts";
import { type ApiKeysReader, openApiKey } from "./api-key.ts";
import type { Authenticator, Surroundings } from "./authenticator.ts";
import { openBasic } from "./basic.ts";
import { openClientCertificate } from "./client-certificate.ts";
import { openJwt } from "./jwt.ts";
import type { AuthenticatorOptions } from "./options.ts";
import { createTrustedHeader } from "./trusted-header.ts";

/** What {@link openAuthenticator} needs beside the options. */
export interface OpenAuthenticatorOptions extends Surroundings {
  readonly readKeysFile: ApiKeysReader;
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
 * Opens an authenticator; the files that it names are read and watched.
 *
 * @param name its key under `authenticators`
 * @throws {AuthenticatorError} ERR_AUTHENTICATOR when a file cannot be read or used
 * @throws {CountersignError} what `readKeysFile` throws
 */
export async function openAuthenticator(
  name: string,
  options: AuthenticatorOptions,
  surroundings: OpenAuthenticatorOptions,
): Promise<Authenticator> {
  try {
    return await open(name, options, surroundings);
  } catch (error) {
    throw error instanceof CountersignError ? error : new AuthenticatorError(name, error);
  }
}

async function open(
  name: string,
  options: AuthenticatorOptions,
  surroundings: OpenAuthenticatorOptions,
): Promise<Authenticator> {
  switch (options.type) {
    case "apiKey":
      return openApiKey(name, options, surroundings, surroundings.readKeysFile);
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
