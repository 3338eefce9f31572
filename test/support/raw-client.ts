import { connect, type Socket } from "node:net";

/**
 * Sends bytes as they are, with no client library to tidy them, and waits for the other side to close the connection.
 *
 * @returns everything that came back, as Latin-1 text
 * @throws {Error} when the connection is still open after the time
 */
export async function sendRaw(
  port: number,
  bytes: string | Buffer,
  timeoutMilliseconds = 5000,
): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1" });
  let received = "";
  let isLate = false;
  const deadline = setTimeout(() => {
    isLate = true;
    socket.destroy();
  }, timeoutMilliseconds);
  socket.on("data", (data) => {
    received += data.toString("latin1");
  });
  // A reset is a way of closing too.
  socket.on("error", () => {});
  socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  await new Promise((resolve) => socket.once("close", resolve));
  clearTimeout(deadline);
  if (isLate) throw new Error(`the connection is still open; received ${JSON.stringify(received)}`);
  return received;
}

/** Writes bytes to a connection that is open, and gives all that comes back until the other side closes it. */
export async function exchange(socket: Socket, bytes = ""): Promise<string> {
  let received = "";
  socket.on("data", (data) => {
    received += data.toString("latin1");
  });
  // A reset, or an alert of TLS, is a way of closing too.
  socket.on("error", () => {});
  socket.write(Buffer.from(bytes, "latin1"));
  // Not with `once`, which takes an error for a failure.
  await new Promise((resolve) => socket.once("close", resolve));
  return received;
}

/** The status codes of all responses in a raw answer, in order. */
export function statusesOf(answer: string): number[] {
  return [...answer.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}
