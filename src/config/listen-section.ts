import { resolve } from "node:path";
import { z } from "zod";
import type { ListenOptions } from "../gateway/listener.ts";
import { CLIENT_CERTIFICATE_MODES } from "../gateway/tls-files.ts";
import { EVEN_WITH_PROBLEMS_INSIDE, section } from "./section.ts";
import { listenAddress, nonEmptyString, word } from "./values.ts";

const tls = section({
  cert: nonEmptyString.describe(
    "A PEM file with the listener's certificate, followed by those between it and its CA.",
  ),
  key: nonEmptyString.describe("A PEM file with the private key of that certificate."),
  clientCa: nonEmptyString
    .describe("A PEM file with the CAs whose client certificates are trusted.")
    .optional(),
  clientCertificate: word(CLIENT_CERTIFICATE_MODES)
    .default("none")
    .describe("Whether clients are asked for a certificate, and whether they must show one."),
}).superRefine((value, context) => {
  const { clientCa, clientCertificate } = value ?? {};
  const refuse = (key: string, message: string) => context.addIssue({ code: "custom", path: [key], message });
  if (clientCa === undefined && (clientCertificate === "optional" || clientCertificate === "required"))
    refuse("clientCertificate", "needs the key clientCa: which CAs are clients trusted for?");
  if (clientCa !== undefined && (clientCertificate === undefined || clientCertificate === "none"))
    refuse(
      "clientCa",
      "has no effect, as no client is asked for a certificate; add clientCertificate: optional or required",
    );
}, EVEN_WITH_PROBLEMS_INSIDE);

const address = listenAddress.describe("Where to listen.");
const ADDRESS_EXPECTED = {
  error: 'expected an address such as "127.0.0.1:8080", or a map with the key address',
};

/** `listen` in the file. */
export const listenSection = z.union(
  [
    listenAddress,
    section({ address, tls: tls.describe("Serves https instead of http.").optional() }, ["http2"]),
  ],
  ADDRESS_EXPECTED,
);

/** `admin` in the file, where it is an address. */
export const adminSection = z.union(
  [listenAddress, section({ address }, ["tls", "http2"])],
  ADDRESS_EXPECTED,
);

/**
 * What `listen` says.
 *
 * @param baseDirectory what relative paths start from
 */
export function listenOptionsOf(
  listen: z.output<typeof listenSection>,
  baseDirectory: string,
): ListenOptions {
  if (!("address" in listen)) return listen;
  if (!listen.tls) return listen.address;
  const { cert, key, clientCa, clientCertificate } = listen.tls;
  return {
    ...listen.address,
    tls: {
      cert: resolve(baseDirectory, cert),
      key: resolve(baseDirectory, key),
      clientCa: clientCa === undefined ? undefined : resolve(baseDirectory, clientCa),
      clientCertificate,
    },
  };
}
