import type { Socket } from "node:net";
import type { ClientRequest } from "../client/client-message.ts";
import { connectionOf } from "../client/peer.ts";

/** How many connections more are taken, so that the issuer's documents can still be read: a tenth, at most this many. */
const MAX_RESERVE = 100;

/** Counts the connections of clients over all listeners, against `limits.connections`. */
export class ConnectionLimit {
  readonly #limit: number;
  readonly #reserve: number;
  readonly #beyond = new WeakSet<Socket>();
  #count = 0;
  /** Spares the look-up for as long as nobody was. */
  #hasBeenBeyond = false;

  constructor(limit: number) {
    this.#limit = limit;
    this.#reserve = Math.min(MAX_RESERVE, Math.ceil(limit / 10));
  }

  /** How many there are now. */
  get count(): number {
    return this.#count;
  }

  /** Counts a connection until it has ended; destroys it where the reserve is used up too. */
  add(socket: Socket): void {
    if (this.#count >= this.#limit + this.#reserve) {
      socket.destroy();
      return;
    }
    this.#count++;
    socket.once("close", () => this.#count--);
  }

  /** To be called when requests may come on a counted connection: whether it is within the limit stays as it is now. */
  admit(socket: Socket): void {
    if (this.#count <= this.#limit) return;
    this.#beyond.add(socket);
    this.#hasBeenBeyond = true;
  }

  /** Whether a request came on a connection above the limit. */
  isBeyond(clientRequest: ClientRequest): boolean {
    const socket = this.#hasBeenBeyond ? connectionOf(clientRequest) : undefined;
    return socket !== undefined && this.#beyond.has(socket);
  }
}
