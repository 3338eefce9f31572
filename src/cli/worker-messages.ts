import type { ConfigurationSource } from "../config/parse.ts";
import type { PassedSocket } from "../gateway/listen/inherited-socket.ts";
import type { StopOrder } from "./supervisor.ts";

/** What a worker tells the process that started it. */
export type WorkerMessage =
  /** It hears orders from here on. */
  | { readonly kind: "listening" }
  /** It answers requests; what runs where, in words. */
  | { readonly kind: "ready"; readonly description: string }
  /** It got a signal to stop. */
  | { readonly kind: "leaving" }
  /** It takes no more connections, and none is open. */
  | { readonly kind: "closed" };

/** What the process that started them tells its workers. */
export type WorkerOrder =
  | {
      readonly kind: "start";
      readonly source: ConfigurationSource;
      readonly sockets: readonly PassedSocket[];
    }
  | ({ readonly kind: "stop" } & StopOrder)
  /** Nothing sent before this is on its way any more. */
  | { readonly kind: "end" };
