import type { Server } from "node:https";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { refreshOften, reportingProblems, type Watch, watchFolders } from "../refresh.ts";
import { secureContextOf } from "./tls.ts";
import { readTlsFiles, type TlsMaterial, type TlsOptions } from "./tls-files.ts";

/** What became of the files of a TLS listener. */
export interface TlsEvent {
  readonly kind: "problem" | "recovered" | "reloaded";
  /** Names the file, and says what is wrong with it. */
  readonly message: string;
}

/** Events tell of a change at once; where a file system has none, this is how long it takes at most. */
const REREAD_SECONDS = 30;

/** A certificate and its key are written one after the other: between them they do not fit, and nobody need know. */
const PATIENCE_MILLISECONDS = 1000;

/**
 * Gives a server the certificate in its files, and the new one when they change: by a write, a rename, or another link.
 * What cannot be used leaves the one before in place. Connections that are open go on as they are.
 *
 * @throws {TlsFileError} ERR_LISTEN when a file cannot be used at first
 */
export async function watchTlsFiles(
  options: TlsOptions,
  server: Server,
  onEvent: (event: TlsEvent) => void,
): Promise<Watch> {
  let current = await readTlsFiles(options);
  let isClosed = false;
  server.setSecureContext(secureContextOf(current));

  const refresh = reportingProblems(
    async () => {
      const material = await readPatiently(options);
      if (isClosed || isSame(material, current)) return;
      // It has other keys for session tickets too: nobody resumes what another CA has vouched for.
      server.setSecureContext(secureContextOf(material));
      current = material;
      onEvent({ kind: "reloaded", message: `the certificate in ${options.cert} is used from now on` });
    },
    (health) => {
      if (isClosed) return;
      if (health.kind === "recovered")
        onEvent({ kind: "recovered", message: `the files can be used again, such as ${options.cert}` });
      else onEvent({ kind: "problem", message: `the certificate before goes on: ${health.message}` });
    },
  );
  const files = [options.cert, options.key, options.clientCa].filter((file) => file !== undefined);
  const watch = refreshOften(refresh, REREAD_SECONDS, (changed) => watchFolders(files.map(dirname), changed));
  return {
    close() {
      isClosed = true;
      watch.close();
    },
  };
}

async function readPatiently(options: TlsOptions): Promise<TlsMaterial> {
  try {
    return await readTlsFiles(options);
  } catch {
    await sleep(PATIENCE_MILLISECONDS, undefined, { ref: false });
    return await readTlsFiles(options);
  }
}

function isSame(a: TlsMaterial, b: TlsMaterial): boolean {
  return a.cert === b.cert && a.key === b.key && a.ca === b.ca;
}
