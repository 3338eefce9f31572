import type { ConfigurationSource } from "../config/parse.ts";
import type { PassedSocket } from "../gateway/listen/inherited-socket.ts";
import type { Metric } from "../observability/metric.ts";
import type { Description } from "./running.ts";
import type { StopOrder } from "./supervisor.ts";

/** What a worker tells the process that started it. */
export type WorkerMessage =
  /** It hears orders from here on. */
  | { readonly kind: "listening" }
  /** It answers requests. */
  | { readonly kind: "ready"; readonly description: Description }
  /** It got a signal to stop. */
  | { readonly kind: "leaving" }
  /** What it has counted by now. */
  | { readonly kind: "metrics"; readonly metrics: readonly Metric[] }
  /** Somebody reads its `/metrics`. */
  | { readonly kind: "metrics-wanted" }
  /** What became of an order to use another configuration. */
  | ({ readonly kind: "reloaded" } & WorkerReloadOutcome)
  /** It takes no more connections, and none is open. */
  | { readonly kind: "closed" };

/** Either the keys that have no effect before a restart, or why the configuration before goes on. */
export type WorkerReloadOutcome =
  | { readonly needsRestart: readonly string[] }
  | { readonly problem: string }
  /** It is about to end: the configuration is none of its business any more. */
  | { readonly isStopping: true };

/** What the process that started them tells its workers. */
export type WorkerOrder =
  | {
      readonly kind: "start";
      /** What the first worker was started with. */
      readonly source: ConfigurationSource;
      /** What has taken its place since, but for what needs a restart of all. */
      readonly latest: ConfigurationSource;
      readonly sockets: readonly PassedSocket[];
      /** What subjects are hashed with, in the log of each worker alike. */
      readonly subjectKey: string;
    }
  | ({ readonly kind: "reload" } & ReloadOrder)
  /** It is to say what it has counted. */
  | { readonly kind: "metrics" }
  /** What all workers have counted, for who reads `/metrics`. */
  | { readonly kind: "metrics-text"; readonly text: string }
  | ({ readonly kind: "stop" } & StopOrder)
  /** Nothing sent before this is on its way any more. */
  | { readonly kind: "end" };

/** Another configuration, or why there is none. */
export type ReloadOrder = { readonly source: ConfigurationSource } | { readonly problem: string };
