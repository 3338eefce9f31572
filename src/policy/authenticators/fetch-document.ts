import { Agent } from "undici";
import { reasonOf } from "../../errors.ts";

/** A document as a server answered with it. */
export interface FetchedDocument {
  readonly url: URL;
  readonly status: number;
  readonly text: string;
}

/** Fetches documents of an identity provider. */
export interface DocumentFetcher {
  /**
   * GETs a document; a redirect is an answer like any other, and not followed.
   *
   * @param signal ends it
   * @throws {Error} when there is no answer, or one of more than 1 MiB
   */
  fetch(url: URL, signal: AbortSignal): Promise<FetchedDocument>;
  /** Ends every fetch. */
  close(): void;
}

const MAX_DOCUMENT_BYTES = 1024 * 1024;

/** Creates a fetcher with connections of its own. */
export function createDocumentFetcher(): DocumentFetcher {
  // Each fetch has its own connection: one that was kept may be closed by the other side just when it is used again.
  const dispatcher = new Agent({ maxResponseSize: MAX_DOCUMENT_BYTES, allowH2: false, pipelining: 0 });
  return {
    async fetch(url, signal) {
      try {
        const headers = { accept: "application/json", "accept-encoding": "identity" };
        const target = { origin: url.origin, path: `${url.pathname}${url.search}` };
        const { statusCode, body } = await dispatcher.request({ ...target, method: "GET", headers, signal });
        return { url, status: statusCode, text: await body.text() };
      } catch (error) {
        throw new Error(`${shown(url)}: ${failureOf(error)}`, { cause: error });
      }
    },
    close() {
      void dispatcher.destroy().catch(() => {});
    },
  };
}

/**
 * The text of a document that is there.
 *
 * @throws {Error} when the status is not 200
 */
export function textOf({ url, status, text }: FetchedDocument): string {
  if (status !== 200) throw new Error(`${shown(url)}: the answer has the status ${status}`);
  return text;
}

/** A URL for a message: its query may hold a key. */
export function shown(url: URL): string {
  return `${url.origin}${url.pathname}`;
}

function failureOf(error: unknown): string {
  const { name, code } = error as NodeJS.ErrnoException;
  if (name === "TimeoutError") return "there was no whole answer in time";
  if (code === "UND_ERR_RES_EXCEEDED_MAX_SIZE") return "the answer is larger than 1 MiB";
  // A name with several addresses: one failure for each, and no message for all.
  return reasonOf(error instanceof AggregateError ? error.errors[0] : error);
}
