/**
 * One replica, as a process of its own: the sidecar that was built, for which seconds pass as minutes do. Everything that
 * keys are timed by is scaled: the time of day, the clock that nobody sets, and the interval at which the ring is read.
 * What has to do with the network is not: the network is as slow as it is.
 */
import { flushCompileCache } from "node:module";
import type { Config } from "../../../src/index.ts";
import { TICK_SECONDS } from "../../../src/issuer/keys/ring.ts";
import { type ScaledTime, scaledNow } from "./scaled-time.ts";

/** What a replica is given, as JSON, in its first argument. */
export interface ReplicaSettings {
  /** A `sidecar.yaml`. */
  readonly configuration: string;
  readonly time: ScaledTime;
  /** How far its clock is ahead. A message, a number, sets it anew. */
  readonly skewSeconds: number;
  /** Breaks the rule on purpose: a new key signs a second after it was published. */
  readonly signsEarly: boolean;
}

/** Where it answers. The message that it sends when it does. */
export interface ReplicaAddresses {
  readonly url: string;
  readonly adminUrl: string;
}

const { configuration, time, skewSeconds, signsEarly }: ReplicaSettings = JSON.parse(String(process.argv[2]));

let skewMilliseconds = skewSeconds * 1000;
process.on("message", (seconds) => {
  skewMilliseconds = Number(seconds) * 1000;
});

const steadily = performance.now.bind(performance);
performance.now = () => steadily() * time.factor;

const { setInterval: every } = globalThis;
globalThis.setInterval = Object.assign((work: () => void, milliseconds = 0) => {
  const isTick = milliseconds === TICK_SECONDS * 1000;
  return every(work, isTick ? milliseconds / time.factor : milliseconds);
}, every);

// What it takes of these is taken when it is loaded.
const built = new URL("../../../dist/index.js", import.meta.url).href;
const { createSidecar, parseConfig }: typeof import("../../../src/index.ts") = await import(built);
const { config } = parseConfig(configuration, { file: "sidecar.yaml" });
const sidecar = createSidecar(signsEarly ? withKeysThatSignEarly(config) : config, {
  now: () => scaledNow(time) + skewMilliseconds,
});
const { url, adminUrl = "" } = await sidecar.start();
// It will be killed, and what it compiled is for the next one (NODE_COMPILE_CACHE).
flushCompileCache();
process.send?.({ url, adminUrl } satisfies ReplicaAddresses);
// Without whoever started it there is nothing to do.
process.once("disconnect", () => process.exit());

/** No file says this: it is refused. The ring is relied on for as long as before. */
function withKeysThatSignEarly(config: Config): Config {
  const { keys } = config.issuer;
  if (keys.kind !== "redis" || !keys.rotation.fleet) throw new Error("the ring is not in Redis");
  const { overlapSeconds, fleet } = keys.rotation;
  const least = 1 - 2 * TICK_SECONDS - 2 * fleet.clockSkewSeconds;
  const jwksMaxAgeSeconds = fleet.jwksMaxAgeSeconds + least - overlapSeconds;
  const rotation = { ...keys.rotation, overlapSeconds: least, fleet: { ...fleet, jwksMaxAgeSeconds } };
  return { ...config, issuer: { ...config.issuer, keys: { ...keys, rotation } } };
}
