import { resolve } from "node:path";
import { z } from "zod";
import type { ListenAddress, ListenOptions } from "../gateway/listen/listen-options.ts";
import { CLIENT_CERTIFICATE_MODES } from "../gateway/listen/tls-files.ts";
import { DEFAULT_SOCKET_MODE, listenAddress, socketMode } from "./addresses.ts";
import { EVEN_WITH_PROBLEMS_INSIDE, expectedCollection, section } from "./section.ts";
import { flag, nonEmptyString, word } from "./values.ts";

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

const ADDRESS_EXPECTED = {
  error: 'expected an address such as "127.0.0.1:8080", or a map with the key address',
};

const listener = section({
  address: listenAddress.describe("Where to listen."),
  mode: socketMode.describe('The permissions of a Unix socket. Default: "0660".').optional(),
  tls: tls.describe("Serves https instead of http.").optional(),
  http2: flag
    .describe(
      "Whether HTTP/2 is spoken beside HTTP/1.1: by ALPN with tls, else with prior knowledge. Default: true with tls, else false.",
    )
    .optional(),
}).superRefine(({ address, mode } = {} as never, context) => {
  if (mode !== undefined && address?.kind !== "unix")
    context.addIssue({ code: "custom", path: ["mode"], message: "has no effect: this is no Unix socket" });
}, EVEN_WITH_PROBLEMS_INSIDE);

const oneListener = z.union([listenAddress, listener], ADDRESS_EXPECTED);

/** `listen` in the file. */
export const listenSection = z.union(
  [
    oneListener,
    z
      .array(oneListener, { error: expectedCollection("a list of addresses") })
      .min(1, "expected at least one address"),
  ],
  ADDRESS_EXPECTED,
);

/** `admin` in the file. */
export const adminSection = z
  .union([z.literal(false), oneListener], {
    error: 'expected an address such as "127.0.0.1:8081", or false for none',
  })
  .default({ kind: "tcp", host: "127.0.0.1", port: 8081 });

/**
 * What `listen` says.
 *
 * @param baseDirectory what relative paths start from
 */
export function listenersOf(
  listen: z.output<typeof listenSection>,
  baseDirectory: string,
): readonly [ListenOptions, ...ListenOptions[]] {
  const [first, ...others] = [listen].flat().map((one) => listenOptionsOf(one, baseDirectory));
  return [first as ListenOptions, ...others];
}

/**
 * What `admin` says; `undefined`: there is no such listener.
 *
 * @param baseDirectory what relative paths start from
 */
export function adminOf(
  admin: z.output<typeof adminSection>,
  baseDirectory: string,
): ListenOptions | undefined {
  return admin === false ? undefined : listenOptionsOf(admin, baseDirectory);
}

function listenOptionsOf(listen: z.output<typeof oneListener>, baseDirectory: string): ListenOptions {
  const { address, mode, tls, http2 } = "kind" in listen ? { address: listen } : listen;
  return {
    address: placed(address, mode, baseDirectory),
    tls: tls && {
      cert: resolve(baseDirectory, tls.cert),
      key: resolve(baseDirectory, tls.key),
      clientCa: tls.clientCa === undefined ? undefined : resolve(baseDirectory, tls.clientCa),
      clientCertificate: tls.clientCertificate,
    },
    http2: http2 ?? tls !== undefined,
  };
}

function placed(
  address: ListenAddress,
  mode: number = DEFAULT_SOCKET_MODE,
  baseDirectory: string,
): ListenAddress {
  return address.kind === "unix" ? { ...address, path: resolve(baseDirectory, address.path), mode } : address;
}
