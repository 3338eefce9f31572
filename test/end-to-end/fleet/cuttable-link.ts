import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** What becomes of connections over a link. */
export type LinkState = "open" | "refused" | "swallowed";

/** A TCP proxy: the network between a replica and Redis. */
export interface CuttableLink extends AsyncDisposable {
  readonly port: number;
  /**
   * `refused`: every connection ends, and so does each new one. `swallowed`: what is sent goes nowhere, and nobody is told,
   * as with a cable that was pulled; a connection of that time stays dead when the link is open again.
   */
  set(state: LinkState): void;
}

interface Connection {
  readonly near: Socket;
  /** `undefined` where it leads nowhere from the start. */
  readonly far: Socket | undefined;
  isDead: boolean;
}

/** Opens a link to a port of this machine. */
export async function openLink(target: number): Promise<CuttableLink> {
  let state: LinkState = "open";
  const connections = new Set<Connection>();

  function accept(near: Socket): void {
    if (state === "refused") return void near.on("error", () => {}).destroy();
    const isDead = state === "swallowed";
    const far = isDead ? undefined : connect(target, "127.0.0.1");
    const connection = { near, far, isDead };
    connections.add(connection);
    near.setNoDelay().on("error", () => {});
    near.once("close", () => {
      connections.delete(connection);
      far?.destroy();
    });
    if (!far) return void near.resume();
    far.setNoDelay().on("error", () => {});
    // Of a dead one nobody learns that its other end is gone.
    far.once("close", () => connection.isDead || near.destroy());
    near.pipe(far);
    far.pipe(near);
  }

  function kill(connection: Connection): void {
    connection.isDead = true;
    connection.near.unpipe().resume();
    connection.far?.unpipe().resume();
  }

  const server = createServer(accept).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    set(next) {
      state = next;
      if (next === "refused") for (const { near } of connections) near.destroy();
      if (next === "swallowed") for (const connection of connections) kill(connection);
    },
    async [Symbol.asyncDispose]() {
      server.close();
      for (const { near } of connections) near.destroy();
    },
  };
}
