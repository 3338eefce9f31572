import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import { CountersignError, reasonOf } from "../../errors.ts";
import { KeyError } from "../../issuer/keys/key-error.ts";
import { MOUNTED_FILE, readKeyFile } from "../../issuer/keys/key-file.ts";

/** What clients are asked to prove in the TLS handshake: nothing, a certificate where they have one, or always one. */
export const CLIENT_CERTIFICATE_MODES = ["none", "optional", "required"] as const;

/** `listen.tls`: the files that a TLS listener is made from. Paths are absolute. */
export interface TlsOptions {
  /** The listener's own certificate, and behind it those between it and its CA. PEM. */
  readonly cert: string;
  /** The private key of the first certificate. PEM. */
  readonly key: string;
  /** The CAs whose clients are trusted. PEM; `undefined` where no client is asked. */
  readonly clientCa: string | undefined;
  readonly clientCertificate: (typeof CLIENT_CERTIFICATE_MODES)[number];
}

/** What stands in the files of {@link TlsOptions}, in PEM. */
export interface TlsMaterial {
  readonly cert: string;
  readonly key: string;
  readonly ca: string | undefined;
}

/** A file of {@link TlsOptions} that cannot be used. The message names the file and what to do, never what is in it. */
export class TlsFileError extends CountersignError {
  /** The key under `listen.tls` that names the file. */
  readonly key: "cert" | "key" | "clientCa";

  constructor(key: TlsFileError["key"], message: string, options?: ErrorOptions) {
    super("ERR_LISTEN", message, options);
    this.key = key;
  }
}

/**
 * Reads and checks the files of a TLS listener.
 *
 * @throws {TlsFileError} ERR_LISTEN when one is missing, unsafe, or not what it should be
 */
export async function readTlsFiles({ cert, key, clientCa }: TlsOptions): Promise<TlsMaterial> {
  const certPem = await readCertificates("cert", cert, CERTIFICATE_EXPECTED);
  const keyPem = await readPrivateKey(key, OWNER);
  const ca =
    clientCa === undefined ? undefined : await readCertificates("clientCa", clientCa, CLIENT_CA_EXPECTED);

  // Only the first is the listener's own.
  if (!new X509Certificate(certPem).checkPrivateKey(privateKeyIn(keyPem, key, OWNER)))
    throw new TlsFileError(
      "key",
      `${key}: this is not the private key of the first certificate in ${cert}; name the key that the certificate was made for, and put the listener's own certificate before its CA's`,
    );
  try {
    createSecureContext({ cert: certPem, key: keyPem, ca });
  } catch (cause) {
    // What OpenSSL alone knows, such as a key that is too short.
    throw new TlsFileError("cert", `${cert}: TLS cannot use this certificate: ${reasonOf(cause)}`, { cause });
  }
  return { cert: certPem, key: keyPem, ca };
}

const OWNER = "the listener";

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

const READ_PROBLEMS: Readonly<Record<string, string>> = {
  ENOENT: "this file does not exist",
  EISDIR: "this is a directory",
};

const CERTIFICATE_EXPECTED = "the listener's certificate in PEM, followed by those between it and its CA";
const CLIENT_CA_EXPECTED = "the certificates of the CAs that clients are trusted for, in PEM";

/**
 * Reads the certificates in a file, and nothing else that is in it.
 *
 * @param expected what should be in the file, for the message
 * @throws {TlsFileError} ERR_LISTEN when there is none, or one cannot be read
 */
export async function readCertificates(
  key: "cert" | "clientCa",
  file: string,
  expected: string,
): Promise<string> {
  const refuse = (problem: string, cause?: unknown) =>
    new TlsFileError(key, `${file}: ${problem}; expected ${expected}`, { cause });

  const text = await readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => {
    throw refuse(READ_PROBLEMS[cause.code ?? ""] ?? `this file cannot be read: ${reasonOf(cause)}`, cause);
  });
  const certificates = text.match(CERTIFICATE) ?? [];
  if (certificates.length === 0) throw refuse("no certificate in PEM is in this file");
  certificates.forEach((pem, index) => {
    try {
      new X509Certificate(pem);
    } catch (cause) {
      throw refuse(`certificate ${index + 1} in this file cannot be read; it may be truncated`, cause);
    }
  });
  if (text.split("-----BEGIN CERTIFICATE-----").length - 1 !== certificates.length)
    throw refuse("a certificate in this file has no end; it may be truncated");
  return certificates.join("\n");
}

/**
 * Reads the private key in a file.
 *
 * @param owner whose it is, for the message
 * @throws {TlsFileError} ERR_LISTEN when it is missing, unsafe, encrypted, or none
 */
export async function readPrivateKey(file: string, owner: string): Promise<string> {
  let text: string;
  try {
    text = await readKeyFile(file, MOUNTED_FILE);
  } catch (cause) {
    if (!(cause instanceof KeyError)) throw cause;
    // It names the file and the remedy.
    throw new TlsFileError("key", cause.message, { cause });
  }
  privateKeyIn(text, file, owner);
  return text;
}

/**
 * The private key in a text.
 *
 * @param owner whose it is, for the message
 * @throws {TlsFileError} ERR_LISTEN when it is encrypted, or none
 */
export function privateKeyIn(text: string, file: string, owner: string): KeyObject {
  const refuse = (problem: string) => new TlsFileError("key", `${file}: ${problem}`);
  if (!/-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----/.test(text))
    throw refuse(`no private key in PEM is in this file; expected that of ${owner}'s certificate`);
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: 4,ENCRYPTED/.test(text))
    throw refuse(
      `this key is encrypted, and ${owner} has no passphrase for it; write it without one: openssl pkey -in OLD -out NEW`,
    );
  try {
    return createPrivateKey(text);
  } catch {
    // The cause's message is OpenSSL's, and says nothing more.
    throw refuse("cannot be read as a private key in PEM; it may be truncated");
  }
}
