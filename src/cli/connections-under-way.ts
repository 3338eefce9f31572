import type { Worker } from "node:cluster";

/** What node:cluster tells a worker of a connection, and what it hears back; none of it is documented. */
interface ClusterMessage {
  readonly cmd?: unknown;
  readonly act?: unknown;
  readonly seq?: unknown;
  readonly ack?: unknown;
}

/**
 * Sees to it that a connection which was on its way to a worker when that was killed is answered: it goes to another
 * worker, or is closed. node:cluster waits for ever to hear whether the worker has taken it, and the client with it.
 *
 * @param hasOthers whether another worker takes connections
 */
export function keepConnectionsUnderWay(worker: Worker, hasOthers: () => boolean): void {
  const { process: child } = worker;
  /** The numbers of the messages with which connections were sent, until it is known what became of them. */
  const underWay = new Set<unknown>();
  const send = child.send.bind(child) as (...values: unknown[]) => boolean;
  child.send = (...values: unknown[]) => {
    const { cmd, act, seq } = values[0] as ClusterMessage;
    if (cmd === CLUSTER && act === "newconn") underWay.add(seq);
    return send(...values);
  };
  child.on("internalMessage", ({ cmd, ack }: ClusterMessage) => {
    if (cmd === CLUSTER) underWay.delete(ack);
  });
  // While nothing is heard of a handle that was sent, Node.js keeps to itself that the process is gone.
  child.on("exit", () => {
    if (!(child as { _handleQueue?: unknown })._handleQueue) return;
    if (child.connected) child.emit("internalMessage", { cmd: "NODE_HANDLE_ACK" });
    else child.emit("disconnect");
  });
  // By now node:cluster sends it nothing more.
  worker.on("disconnect", () => {
    const accepted = !hasOthers();
    for (const ack of underWay) child.emit("internalMessage", { cmd: CLUSTER, ack, accepted });
  });
}

const CLUSTER = "NODE_CLUSTER";
