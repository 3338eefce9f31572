import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { listOf } from "../strict-http/message.ts";
import { readRequest, type StrictRequest } from "../strict-http/requests.ts";

/** A backend that reads as strictly as can be, and that objects to whatever another one could read differently. */
export interface StrictRecorder extends AsyncDisposable {
  readonly url: string;
  /** The whole requests that arrived since this was asked last. */
  takeRequests(): StrictRequest[];
  /** What it objected to since this was asked last. */
  takeObjections(): string[];
}

/** Names that never stand in a forwarded request, whatever a reader takes for their hyphens. */
const NEVER_FORWARDED = new Set([
  "te",
  "trailer",
  "keep-alive",
  "proxy-connection",
  "http2-settings",
  "expect",
  "proxy-authorization",
  "forwarded",
  "x-real-ip",
]);
/** Those that say how the message is framed and what becomes of the connection: in their own spelling alone, and once. */
const EXACT = new Set(["content-length", "transfer-encoding", "connection", "upgrade", "host"]);
/** What only the sidecar says, and always says. */
const ONCE = new Map([
  // Nobody's address is known once a client has reset its connection.
  ["x-forwarded-for", /^(?:127\.0\.0\.1|unknown)$/],
  ["x-forwarded-proto", /^http$/],
  ["x-request-id", /^[\w.~+/=:@-]{1,128}$/],
  ["via", /\b1\.[01] countersign-[\w-]{12}$/],
]);

/**
 * Starts a recorder.
 *
 * @param answer called for each whole request, in order
 */
export async function startStrictRecorder(
  answer: (request: StrictRequest, socket: Socket) => void,
): Promise<StrictRecorder> {
  let requests: StrictRequest[] = [];
  let objections: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    let buffered = "";
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    socket.on("data", (data) => {
      buffered += data.toString("latin1");
      while (buffered !== "" && !socket.destroyed) {
        const reading = readRequest(buffered);
        if (reading.kind === "incomplete") return;
        if (reading.kind === "broken") {
          objections.push(
            `the backend cannot read this: ${reading.why}\n${JSON.stringify(buffered.slice(0, 2000))}`,
          );
          socket.destroy();
          return;
        }
        for (const objection of objectionsTo(reading.message))
          objections.push(
            `${objection}\n${JSON.stringify(buffered.slice(0, Math.min(2000, reading.length)))}`,
          );
        buffered = buffered.slice(reading.length);
        requests.push(reading.message);
        answer(reading.message, socket);
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    takeRequests() {
      const taken = requests;
      requests = [];
      return taken;
    },
    takeObjections() {
      const taken = objections;
      objections = [];
      return taken;
    },
    async [Symbol.asyncDispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, "close");
    },
  };
}

function objectionsTo({ target, httpVersion, fields, body }: StrictRequest): string[] {
  const objections: string[] = [];
  if (!/^\/[^#\\]*$/.test(target)) objections.push(`the target is ${target}`);
  if (httpVersion !== "1.1") objections.push(`it is HTTP/${httpVersion}`);
  if (body.trailers.length > 0) objections.push("it has trailers");
  if (body.hasChunkExtensions) objections.push("it has chunk extensions");
  const counts = new Map<string, number>();
  for (const [name, value] of fields) {
    const canonical = canonicalName(name);
    counts.set(canonical, (counts.get(canonical) ?? 0) + 1);
    if (NEVER_FORWARDED.has(canonical)) objections.push(`it has the field ${name}`);
    if (EXACT.has(canonical) && name.toLowerCase() !== canonical)
      objections.push(`${name} may be taken for ${canonical}`);
    if (ONCE.get(canonical)?.test(value) === false) objections.push(`${name} is ${JSON.stringify(value)}`);
    if (canonical.startsWith("x-forwarded-") && !/^x-forwarded-(?:for|proto|host)$/.test(name))
      objections.push(`it has the field ${name}`);
  }
  for (const name of EXACT) if ((counts.get(name) ?? 0) > 1) objections.push(`it has ${name} more than once`);
  for (const name of ONCE.keys())
    if (counts.get(name) !== 1) objections.push(`it has ${name} not exactly once`);
  const options = listOf(fields, "connection").filter(
    (option) => option !== "keep-alive" && option !== "close",
  );
  if (options.some((option) => option !== "upgrade")) objections.push(`Connection names ${options.join()}`);
  if (options.includes("upgrade") !== counts.has("upgrade")) objections.push("half of an upgrade");
  return objections;
}

/** What a CGI, WSGI or PHP backend calls a field. Not the function of the sidecar: that one is on trial. */
export function canonicalName(name: string): string {
  return [...name.toLowerCase()].map((character) => (/[a-z0-9]/.test(character) ? character : "-")).join("");
}
