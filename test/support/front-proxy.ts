import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** A reverse proxy in front of the sidecar, for one request a connection. */
export interface FrontProxy extends AsyncDisposable {
  readonly port: number;
}

/** The field lines that a proxy sends on, made from those that it got. */
export type FieldRewriting = (lines: readonly string[], clientAddress: string) => readonly string[];

/** Starts a proxy that passes everything on to `port` byte by byte, but for the field lines. */
export async function startFrontProxy(port: number, rewrite: FieldRewriting): Promise<FrontProxy> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(port, "127.0.0.1");
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => other.destroy());
    }
    let received = "";
    client.on("data", (data) => {
      if (received.includes("\r\n\r\n")) return;
      received += data.toString("latin1");
      const end = received.indexOf("\r\n\r\n");
      if (end === -1) return;
      const [requestLine, ...lines] = received.slice(0, end).split("\r\n");
      const head = [requestLine, ...rewrite(lines, client.remoteAddress ?? "")].join("\r\n");
      upstream.write(`${head}${received.slice(end)}`, "latin1");
    });
    upstream.pipe(client);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, "close");
    },
  };
}

/** Whether a field line has this name, whatever its case. */
export function isNamed(line: string, name: string): boolean {
  return line.toLowerCase().startsWith(`${name}:`);
}

/** As nginx does with `$proxy_add_x_forwarded_for`: the client's list goes on, with the client's address behind it. */
export const appendXForwardedFor: FieldRewriting = (lines, clientAddress) => {
  const before = lines
    .filter((line) => isNamed(line, "x-forwarded-for"))
    .map((line) => line.slice(16).trim());
  return [
    ...lines.filter((line) => !isNamed(line, "x-forwarded-for")),
    `X-Forwarded-For: ${[...before, clientAddress].join(", ")}`,
  ];
};

/** As HAProxy does with `option forwarded`: a line of its own behind those of the client. */
export const appendForwarded: FieldRewriting = (lines, clientAddress) => [
  ...lines,
  `Forwarded: for=${clientAddress};proto=https`,
];
