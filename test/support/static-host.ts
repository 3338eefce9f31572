import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { startBackend } from "./backend.ts";

/** A web server that knows nothing of Countersign. */
export interface StaticHost extends AsyncDisposable {
  /** What its folder is known by: `issuer.url`. */
  readonly url: string;
  /** Sent with each file; JSON that may be kept for five minutes, unless it is changed. */
  readonly headers: Record<string, string>;
  /** The path of each request, in order. */
  readonly asked: string[];
}

/** Starts a server that serves the files of a folder at `/issuer`. */
export async function startStaticHost(folder: string): Promise<StaticHost> {
  const headers = { "content-type": "application/json", "cache-control": "public, max-age=300" };
  const asked: string[] = [];
  const server = await startBackend(async ({ url = "" }, response) => {
    asked.push(url);
    const body = await readFile(join(folder, url.replace(/^\/issuer\//, ""))).catch(() => undefined);
    response.writeHead(body ? 200 : 404, headers).end(body);
  });
  return {
    url: `${server.url}/issuer`,
    headers,
    asked,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
