import { CountersignError, reasonOf } from "../../errors.ts";
import { formatAddress, type ListenAddress } from "./listen-options.ts";

/** An address that cannot be listened on. The message names it, and says what to do. */
export class ListenError extends CountersignError {
  readonly #address: ListenAddress;
  readonly #problem: string;

  /** @param problem what the address cannot be used for, where the cause alone does not say it */
  constructor(
    address: ListenAddress,
    cause: NodeJS.ErrnoException,
    problem = PROBLEMS[address.kind][cause.code ?? ""] ?? reasonOf(cause),
  ) {
    super("ERR_LISTEN", `cannot listen on ${formatAddress(address)}: ${problem}`, { cause });
    this.#address = address;
    this.#problem = problem;
  }

  /** The same of the operators' listener. It opens unasked, so the message names its key, and how to do without it. */
  ofAdmin(): ListenError {
    const remedy =
      "this is the operators' listener: set admin (--admin) to another address, or to false for none";
    return new ListenError(this.#address, this.cause as Error, `${this.#problem}; ${remedy}`);
  }
}

const PROBLEMS: Readonly<Record<ListenAddress["kind"], Readonly<Record<string, string>>>> = {
  tcp: {
    EADDRINUSE: "another program uses this port; stop it, or choose another port",
    EACCES: "this port needs a privilege that the process lacks; choose a port above 1023",
    EADDRNOTAVAIL: "this machine has no such address",
    ENOTFOUND: "the host name is not known",
  },
  unix: {
    EADDRINUSE: "another program listens on this socket; stop it, or choose another path",
    EACCES:
      "the process may not write to the folder of this socket; give it the right, or choose another path",
    EROFS: "the folder of this socket is read-only; choose another path",
    ENOENT: "the folder of this socket does not exist; make it, or choose another path",
    ENOTDIR: "the folder of this socket is no folder; choose another path",
    EINVAL: "this path is too long for a socket; choose one of at most 107 bytes",
    ENAMETOOLONG: "this path is too long for a socket; choose one of at most 107 bytes",
  },
  systemd: {
    EINVAL: "what was passed under this name is no socket that listens; mend the systemd.socket unit",
    EBADF: "nothing was passed under this descriptor; mend what sets LISTEN_FDS",
  },
};
