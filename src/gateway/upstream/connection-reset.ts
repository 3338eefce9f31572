import type { Socket } from "node:net";

/**
 * Makes a reset of a backend's connection an error, whatever response is under way. undici takes it for the end of a
 * response without a length; but such a one is not complete where the connection failed (RFC 9112 §8).
 *
 * @param socket that undici does not listen to yet
 */
export function tellResetFromEnd(socket: Socket): void {
  socket.on("error", (error: NodeJS.ErrnoException) => {
    // The one code that undici takes so.
    if (error.code === "ECONNRESET") error.code = "UND_ERR_SOCKET";
  });
}
