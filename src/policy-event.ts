import type { SourceEvent } from "./refresh.ts";

/** Something that happened to what policies read again and again. */
export interface PolicyEvent extends SourceEvent {
  /** Its key in the configuration, such as `authenticators.login` or `policies.orders.module`. */
  readonly key: string;
}
