import { resolve } from "node:path";
import { z } from "zod";
import type { ListenAddress, ListenOptions } from "../gateway/listen/listen-options.ts";
import { CLIENT_CERTIFICATE_MODES } from "../gateway/listen/tls-files.ts";
import { DEFAULT_SOCKET_MODE, listenAddress, socketMode } from "./addresses.ts";
import { EVEN_WITH_PROBLEMS_INSIDE, expectedCollection, section } from "./section.ts";
import { filePath, flag, word } from "./values.ts";

const tls = section({
  cert: filePath.describe("PEM: the listener's certificate first, followed by those between it and its CA."),
  key: filePath.describe(
    "PEM: the private key of that certificate, without a passphrase. Nobody but its owner and its group may read it.",
  ),
  clientCa: filePath
    .describe(
      "PEM: the CAs whose client certificates are trusted. No other CA is, whatever the machine trusts.",
    )
    .optional(),
  clientCertificate: word(CLIENT_CERTIFICATE_MODES)
    .default("none")
    .describe(
      "Whether clients are asked for a certificate. With `optional` those without a good one are served too; with `required` their handshake fails.",
    ),
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
  address: listenAddress.describe("Where to listen, in the same forms as without a map."),
  mode: socketMode
    .describe(
      `The permissions of a Unix socket: whoever may write to it may connect. Default: \`"0${DEFAULT_SOCKET_MODE.toString(8)}"\`.`,
    )
    .optional(),
  tls: tls.describe("Serves https instead of http.").optional(),
  http2: flag
    .describe(
      "Whether HTTP/2 is spoken beside HTTP/1.1: by ALPN with `tls`, else with prior knowledge. Default: `true` with `tls`, else `false`.",
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
  .prefault("127.0.0.1:8081");

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
