import { EVEN_WITH_PROBLEMS_INSIDE, section } from "./section.ts";
import { filePath, flag, nonEmptyString } from "./values.ts";

/** What is said of the other side. */
export interface TlsPeer {
  /** Such as `backend`. */
  readonly name: string;
  /** Where its name is by default, such as `the URL's host`. */
  readonly host: string;
  /** What whoever is on the way can do where its certificate is not checked. */
  readonly danger: string;
}

/** How a server that is connected to is known, and known to it. */
export function clientTlsSection({ name, host, danger }: TlsPeer) {
  return section({
    ca: filePath
      .describe(`PEM: the CAs that the ${name}'s certificate is trusted for. Default: the public CAs.`)
      .optional(),
    cert: filePath.describe(`PEM: the certificate that the ${name} is shown. Default: none.`).optional(),
    key: filePath
      .describe("PEM: the private key of that certificate. One that others can read is refused.")
      .optional(),
    serverName: nonEmptyString
      .describe(`The name that the ${name}'s certificate must have. Default: ${host}.`)
      .optional(),
    dangerouslySkipVerification: flag
      .default(false)
      .describe(`Takes any certificate: whoever is on the way can ${danger}.`),
  }).superRefine(({ cert, key, ca, dangerouslySkipVerification } = {} as never, context) => {
    const refuse = (path: string, message: string) =>
      context.addIssue({ code: "custom", path: [path], message });
    if (cert !== undefined && key === undefined) refuse("cert", "needs the key key: its private key");
    if (key !== undefined && cert === undefined) refuse("key", "needs the key cert: its certificate");
    if (ca !== undefined && dangerouslySkipVerification === true)
      refuse("ca", "has no effect: dangerouslySkipVerification takes any certificate");
  }, EVEN_WITH_PROBLEMS_INSIDE);
}
