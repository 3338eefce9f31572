import { once } from "node:events";
import { chmod, lstat, stat, unlink } from "node:fs/promises";
import { connect, type Server } from "node:net";
import { dirname } from "node:path";
import { ListenError } from "./listen-error.ts";
import type { UnixAddress } from "./listen-options.ts";

/**
 * Listens on a Unix socket. The file of a process that has died is replaced; that of a living one is not, nor is a file of
 * any other kind. When the server closes, the file is removed.
 *
 * @throws {ListenError} ERR_LISTEN when the path cannot be used
 */
export async function listenOnUnixSocket(server: Server, address: UnixAddress): Promise<void> {
  try {
    await bind(server, address);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EADDRINUSE")
      throw new ListenError(address, await folderProblemOf(address, cause as NodeJS.ErrnoException));
    await removeStaleSocket(address);
    try {
      await bind(server, address);
    } catch (stillThere) {
      throw new ListenError(address, stillThere as NodeJS.ErrnoException);
    }
  }
}

async function bind(server: Server, { path, mode }: UnixAddress): Promise<void> {
  // Whoever may write to the file may connect, so it must never be more open than it shall be: not for a moment either.
  const before = process.umask();
  process.umask(before | (~mode & 0o777));
  try {
    // The file is made before this returns.
    server.listen(path);
  } finally {
    process.umask(before);
  }
  await once(server, "listening");
  // What the process's own umask has taken away.
  await chmod(path, mode);
}

/** Of a folder that is missing Node.js says what it says of one that may not be written to (libuv maps ENOENT to EACCES). */
async function folderProblemOf(
  { path }: UnixAddress,
  cause: NodeJS.ErrnoException,
): Promise<NodeJS.ErrnoException> {
  if (cause.code !== "EACCES") return cause;
  return await stat(dirname(path)).then(
    () => cause,
    (folderProblem) => folderProblem,
  );
}

/** Removes the file of a socket on which nobody listens. */
async function removeStaleSocket(address: UnixAddress): Promise<void> {
  const file = await lstat(address.path).catch(() => undefined);
  // Whoever else starts here has been faster.
  if (!file) return;
  if (!file.isSocket())
    throw new ListenError(
      address,
      new Error(),
      "a file that is no socket has this path, and is not removed; choose another path",
    );
  const socket = connect(address.path);
  try {
    await once(socket, "connect");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ECONNREFUSED") await unlink(address.path).catch(() => {});
  } finally {
    socket.destroy();
  }
}
