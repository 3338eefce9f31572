import { X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import { CountersignError, reasonOf } from "../../errors.ts";
import type { SourceEvent } from "../../refresh.ts";
import { openWatchedFiles, type WatchedFiles } from "../../watched-files.ts";
import { privateKeyIn, readCertificates, readPrivateKey } from "../listen/tls-files.ts";
import type { UpstreamTlsOptions } from "./upstream-options.ts";

/** What stands in the files of {@link UpstreamTlsOptions}, in PEM. */
export interface UpstreamTlsMaterial {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** What the files said when they could last be used; another object after each change. */
export type UpstreamTls = WatchedFiles<UpstreamTlsMaterial>;

/** A file of {@link UpstreamTlsOptions} that cannot be used. The message names the file and what to do. */
export class UpstreamFileError extends CountersignError {
  /** Those of the upstream that it is a file of. */
  readonly tls: UpstreamTlsOptions;
  /** The key of {@link tls} that names the file. */
  readonly key: "ca" | "cert" | "key";

  constructor(
    tls: UpstreamTlsOptions,
    key: UpstreamFileError["key"],
    message: string,
    options?: ErrorOptions,
  ) {
    super("ERR_UPSTREAM_FILE", message, options);
    this.tls = tls;
    this.key = key;
  }
}

/**
 * Reads and checks the files of an upstream, and reads them again when they change. Where they cannot be used any more,
 * what they said before goes on.
 *
 * @throws {UpstreamFileError} ERR_UPSTREAM_FILE when one is missing, unsafe, or not what it should be
 */
export async function openUpstreamTls(
  options: UpstreamTlsOptions,
  onEvent: (event: SourceEvent) => void,
): Promise<UpstreamTls> {
  const files = [options.ca, options.cert, options.key].filter((file) => file !== undefined);
  if (files.length === 0) return { current: () => NO_MATERIAL, close: () => {} };

  return openWatchedFiles({
    files,
    async read(before) {
      const material = await readUpstreamFiles(options);
      return before && isSame(material, before) ? before : material;
    },
    onEvent,
    messages: {
      reloaded: `${files.join(", ")} were read again, and new connections are made with them`,
      recovered: `${files.join(", ")} can be used again`,
      problem: (reason) => `connections are made with the files as they were: ${reason}`,
    },
  });
}

const NO_MATERIAL: UpstreamTlsMaterial = {};

function isSame(a: UpstreamTlsMaterial, b: UpstreamTlsMaterial): boolean {
  return a.ca === b.ca && a.cert === b.cert && a.key === b.key;
}

/** Who shows the certificate. */
const OWNER = "Countersign";

async function readUpstreamFiles(tls: UpstreamTlsOptions): Promise<UpstreamTlsMaterial> {
  const { ca, cert, key } = tls;
  const material: { ca?: string; cert?: string; key?: string } = {};
  const refuse = (name: UpstreamFileError["key"], message: string, cause?: unknown) =>
    new UpstreamFileError(tls, name, message, { cause });
  const read = (name: UpstreamFileError["key"], text: Promise<string>) =>
    text.catch((cause: Error) => {
      throw refuse(name, cause.message, cause);
    });

  if (ca !== undefined) material.ca = await read("ca", readCertificates("clientCa", ca, CA_EXPECTED));
  if (cert !== undefined && key !== undefined) {
    material.cert = await read("cert", readCertificates("cert", cert, CERTIFICATE_EXPECTED));
    material.key = await read("key", readPrivateKey(key, OWNER));
    if (!new X509Certificate(material.cert).checkPrivateKey(privateKeyIn(material.key, key, OWNER)))
      throw refuse(
        "key",
        `${key}: this is not the private key of the first certificate in ${cert}; name the key that the certificate was made for`,
      );
  }
  try {
    createSecureContext(material);
  } catch (cause) {
    // What OpenSSL alone knows, such as a key that is too short.
    const message = `${cert ?? ca}: TLS cannot use this certificate: ${reasonOf(cause)}`;
    throw refuse(cert === undefined ? "ca" : "cert", message, cause);
  }
  return material;
}

const CA_EXPECTED = "the certificates of the CAs that the backend's is trusted for, in PEM";
const CERTIFICATE_EXPECTED =
  "the certificate that the backend is shown in PEM, followed by those between it and its CA";
