import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** A way to a port of this machine that can be cut. */
export interface CutProxy extends AsyncDisposable {
  readonly port: number;
  /**
   * What becomes of connections, those that are open too: `through`; `refused`: they are reset; `silent`: they stay open, and
   * nothing comes through in the direction back (or in neither).
   */
  set(state: "through" | "refused" | "silent" | "silent-back"): void;
}

/** Starts one, which lets everything through. */
export async function startCutProxy(target: number): Promise<CutProxy> {
  const clients = new Set<Socket>();
  let state: Parameters<CutProxy["set"]>[0] = "through";
  const server = createServer((client) => {
    if (state === "refused") {
      client.resetAndDestroy();
      return;
    }
    clients.add(client);
    const upstream = connect(target, "127.0.0.1");
    client
      .on("error", () => {})
      .on("close", () => {
        clients.delete(client);
        upstream.destroy();
      });
    upstream.on("error", () => client.resetAndDestroy()).on("close", () => client.destroy());
    client.on("data", (data) => state !== "silent" && upstream.write(data));
    upstream.on("data", (data) => state === "through" && client.write(data));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const resetAll = () => {
    for (const client of clients) client.resetAndDestroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    set(next) {
      // What was swallowed makes a connection useless.
      if (next === "refused" || state.startsWith("silent")) resetAll();
      state = next;
    },
    async [Symbol.asyncDispose]() {
      server.close();
      resetAll();
      await once(server, "close");
    },
  };
}
