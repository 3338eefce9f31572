import { z } from "zod";
import type { ListenOptions } from "../../gateway/listen/listen-options.ts";
import { CERTIFICATE_NAMES, type ClientCertificateOptions } from "../../policy/authenticators/options.ts";
import { section } from "../section.ts";
import { word } from "../values.ts";
import { addressRanges, commonShape } from "./common.ts";

/** `type: clientCertificate` */
export const clientCertificateSection = section({
  type: z.literal("clientCertificate").describe("Callers who show a certificate."),
  subject: word(CERTIFICATE_NAMES)
    .default("commonName")
    .describe(
      "Which name of the certificate says who is calling: `commonName` of its subject, or the first subject alternative name of a kind.",
    ),
  from: addressRanges
    .describe(
      "Proxies in front whose `Client-Cert` header (RFC 9440) is believed, instead of the TLS connection's certificate.",
    )
    .optional(),
  ...commonShape,
});

/** What the section says. */
export function clientCertificateOptionsOf(
  value: z.output<typeof clientCertificateSection>,
): ClientCertificateOptions {
  return {
    type: "clientCertificate",
    subject: value.subject,
    from: value.from,
    forwardCredential: value.forwardCredential,
  };
}

/**
 * What is wrong with an entry in view of `listen`; its place is `authenticators.<name>`. Without `from` no caller could
 * ever show a certificate where the listener asks for none.
 */
export function clientCertificateProblem(
  section: { readonly from?: readonly string[] | undefined },
  listen: readonly ListenOptions[],
): string | undefined {
  const isAsked = listen.some(({ tls }) => tls && tls.clientCertificate !== "none");
  if (section.from || isAsked) return undefined;
  return "no client is asked for a certificate; set listen.tls.clientCertificate to optional or required, or name with from the proxies whose Client-Cert field is believed";
}
