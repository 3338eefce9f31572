import { once } from "node:events";
import { connect } from "node:net";

/**
 * Sends bytes as they are, with no client library to tidy them, and waits for the connection to close.
 *
 * @returns everything that came back, as Latin-1 text
 */
export async function sendRaw(
  port: number,
  bytes: string | Buffer,
  timeoutMilliseconds = 5000,
): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1" });
  const deadline = setTimeout(() => socket.destroy(), timeoutMilliseconds);
  let received = "";
  socket.on("data", (data) => {
    received += data.toString("latin1");
  });
  socket.on("error", () => {});
  socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  await once(socket, "close");
  clearTimeout(deadline);
  return received;
}

/** The status codes of all responses in a raw answer, in order. */
export function statusesOf(answer: string): number[] {
  return [...answer.matchAll(/^HTTP\/1\.1 (\d{3})/gm)].map(([, status]) => Number(status));
}
