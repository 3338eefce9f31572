import { audiences } from "./audiences.js";
import { requestBodies, responseBodies } from "./bodies.js";
import { active, idle } from "./connections.js";
import { apiKeys, hosts, policies, signingKeys } from "./deciding.js";
import { workers } from "./workers.js";

/**
 * Everything that is measured, by name: `sizes` of what `sizeTitle` says, and a `note` on what a reader must know.
 *
 * `open(size, {folder, upstream, bodyUpstream})` starts a sidecar; it gives its `child`, and `warmUp({requests, milliseconds})`,
 * which ends with either, `turn(milliseconds)` with the CPU `microseconds` of a request and more figures, `facts()` with what is
 * known after the last turn, and `close()`.
 *
 * `planOf(plan)` is a plan of its own for turns that must be longer. `columns` are those of the table beside size, CPU time and ratio, with their text from a point; without them there is the
 * memory. `conclude(points)` says what was found; without it that is the growth.
 */
export const SERIES = [
  policies,
  hosts,
  apiKeys,
  signingKeys,
  idle,
  active,
  requestBodies,
  responseBodies,
  audiences,
  workers,
];
