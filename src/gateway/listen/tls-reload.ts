import type { Server } from "node:https";
import type { SourceEvent, Watch } from "../../refresh.ts";
import { openWatchedFiles } from "../../watched-files.ts";
import { secureContextOf } from "./tls.ts";
import { readTlsFiles, type TlsMaterial, type TlsOptions } from "./tls-files.ts";

/**
 * Gives a server the certificate in its files, and the new one when they change. What cannot be used leaves the one
 * before in place. Connections that are open go on as they are.
 *
 * @throws {TlsFileError} ERR_LISTEN when a file cannot be used at first
 */
export function watchTlsFiles(
  options: TlsOptions,
  server: Server,
  onEvent: (event: SourceEvent) => void,
): Promise<Watch> {
  return openWatchedFiles<TlsMaterial>({
    files: [options.cert, options.key, options.clientCa].filter((file) => file !== undefined),
    async read(before) {
      const material = await readTlsFiles(options);
      return before && isSame(material, before) ? before : material;
    },
    // It has other keys for session tickets too: nobody resumes what another CA has vouched for.
    use: (material) => server.setSecureContext(secureContextOf(material)),
    onEvent,
    messages: {
      reloaded: `the certificate in ${options.cert} is used from now on`,
      recovered: `the files can be used again, such as ${options.cert}`,
      problem: (reason) => `the certificate before goes on: ${reason}`,
    },
  });
}

function isSame(a: TlsMaterial, b: TlsMaterial): boolean {
  return a.cert === b.cert && a.key === b.key && a.ca === b.ca;
}
