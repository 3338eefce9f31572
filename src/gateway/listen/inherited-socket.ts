import { CountersignError } from "../../errors.ts";
import { formatAddress, type InheritedSocket } from "./listen-options.ts";

/** A socket that the process was started with. */
export interface PassedSocket {
  /** Its FileDescriptorName; `undefined` where it has none. */
  readonly name: string | undefined;
  /** The file descriptor. */
  readonly fd: number;
}

/** The first descriptor that is passed (sd_listen_fds(3), SD_LISTEN_FDS_START). */
const FIRST_FD = 3;

/** Those of this process: they are passed once, and so are the variables that say so. */
let passed: readonly PassedSocket[] | undefined;

/**
 * The sockets that this process was started with. The variables that tell of them are removed, because they are not meant
 * for the programs that this one starts.
 *
 * @see sd_listen_fds(3)
 * @throws {CountersignError} ERR_LISTEN when the variables are for another process, or make no sense
 */
export function passedSockets(): readonly PassedSocket[] {
  passed ??= takePassedSockets(process.env, process.pid);
  return passed;
}

/** Says which sockets there are, where another process knows it: the workers share those of the first. */
export function adoptPassedSockets(sockets: readonly PassedSocket[]): void {
  passed = sockets;
}

/**
 * Reads and removes the variables that tell of sockets.
 *
 * @param pid of the process that they should be for
 */
export function takePassedSockets(
  env: Record<string, string | undefined>,
  pid: number,
): readonly PassedSocket[] {
  const { LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES } = env;
  for (const name of ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"]) delete env[name];
  if (LISTEN_FDS === undefined) return [];
  if (LISTEN_PID !== String(pid))
    throw unusable(
      `the sockets in LISTEN_FDS were passed to process ${LISTEN_PID ?? "(no LISTEN_PID)"}, and this is ${pid}; start Countersign itself, not by npx or npm, and from a script with exec`,
    );
  const count = Number(LISTEN_FDS);
  if (!/^\d{1,4}$/.test(LISTEN_FDS)) throw unusable("LISTEN_FDS is no number of sockets");
  const names = LISTEN_FDNAMES?.split(":");
  return Array.from({ length: count }, (_, index) => ({ name: names?.[index], fd: FIRST_FD + index }));
}

/**
 * The file descriptor of the socket that an address means.
 *
 * @throws {CountersignError} ERR_LISTEN when it is not there
 */
export function inheritedSocketOf(address: InheritedSocket, sockets = passedSockets()): number {
  const named = sockets.filter(({ name }) => address.name === undefined || name === address.name);
  const [socket] = named;
  if (socket && named.length === 1) return socket.fd;
  const what = `cannot listen on ${formatAddress(address)}`;
  if (sockets.length === 0)
    throw unusable(
      `${what}: no socket was passed to this process; it is to be started by its systemd.socket unit`,
    );
  const names = sockets.map(({ name, fd }) => name ?? `(descriptor ${fd}, without a name)`).join(", ");
  throw unusable(
    socket
      ? `${what}: ${named.length} sockets were passed; name one of them: ${names}`
      : `${what}: no socket of this name was passed; the names are: ${names}`,
  );
}

function unusable(message: string): CountersignError {
  return new CountersignError("ERR_LISTEN", message);
}
