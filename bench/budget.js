import { median, medianRatio } from "./statistics.js";

/** What Countersign may cost, beside what was measured in the same run. */
const MOST_LIMITS = { countersign: 1.2, "countersign-policies": 1.45 };
const MOST_LIMITS_AND_SIGNATURES = 1.15;
const MOST_LOOP_DELAY_MILLISECONDS = 5;
const MOST_OF_NGINX_ADDED = 1.4;
const MOST_MEGABYTES = { started: 100, loaded: 170 };
const MOST_START_MILLISECONDS = 400;

/**
 * The budget line by line: `what` it is about, what it may be `atMost`, what was `measured`, and whether it `isMet`. The last
 * two are `undefined` where this run did not measure it.
 */
export function budgetOf({ contestants, rawRounds, aloneRounds, startTimes, loopDelay }) {
  const of = (name) =>
    contestants.find((contestant) => contestant.name === name)?.rounds.map((round) => round.microseconds);
  const limit = of("bare");
  const ratio = (name, references = limit) => {
    const values = of(name);
    return values && references && medianRatio(values, references);
  };
  const limitAnd = (algorithm) => limit.map((value, round) => value + rawRounds[round][algorithm]);
  const own = contestants.filter(({ isCountersign }) => isCountersign);
  const greatest = (values) => (values.length > 0 ? Math.max(...values) : undefined);

  return [
    line("default policy, token reused", MOST_LIMITS.countersign, ratio("countersign"), times("the limit")),
    line(
      "100 policies, API key, templates, metrics and access log, token reused",
      MOST_LIMITS["countersign-policies"],
      ratio("countersign-policies"),
      times("the limit"),
    ),
    ...["EdDSA", "ES256"].map((algorithm) =>
      line(
        `${algorithm}, a signature on every request`,
        MOST_LIMITS_AND_SIGNATURES,
        ratio(`countersign-${algorithm.toLowerCase()}`, limitAnd(algorithm)),
        times("(the limit + one raw signature)"),
      ),
    ),
    line(
      "RS256, a signature on every request: the event loop's p99 delay",
      MOST_LOOP_DELAY_MILLISECONDS,
      loopDelay,
      (value) => `${value.toFixed(1)} ms`,
    ),
    line(
      "latency added at one connection, p50",
      MOST_OF_NGINX_ADDED,
      addedRatio(aloneRounds),
      times("what nginx adds"),
    ),
    line(
      "memory after start, the most of all cases",
      MOST_MEGABYTES.started,
      greatest(own.map(({ memoryMegabytes }) => memoryMegabytes)),
      megabytes,
    ),
    line(
      "memory under load, the most of all cases",
      MOST_MEGABYTES.loaded,
      greatest(own.flatMap(({ rounds }) => rounds.map((round) => round.memoryMegabytes))),
      megabytes,
    ),
    line(
      "start to ready",
      MOST_START_MILLISECONDS,
      startTimes.length > 0 ? median(startTimes) : undefined,
      (value) => `${value.toFixed(0)} ms`,
    ),
    ...contestants.filter(({ isPeer }) => isPeer).map(({ name, title }) => aheadOf(name, title, ratio, of)),
  ];
}

/** Where both do the same with tokens: they keep them, or sign each with ES256. */
function aheadOf(name, title, ratio, of) {
  const own = name.endsWith("-kept") ? "countersign" : "countersign-es256";
  return line(`against ${title}`, 1, ratio(own, of(name)), times("its CPU time"));
}

function addedRatio(rounds) {
  const complete = rounds.filter(
    ({ nginx, countersign }) => nginx !== undefined && countersign !== undefined,
  );
  if (complete.length === 0) return undefined;
  const added = (name) => complete.map((round) => round[name] - round.direct);
  return medianRatio(added("countersign"), added("nginx"));
}

function line(what, atMost, value, show) {
  if (value === undefined) return { what, atMost: show(atMost) };
  return { what, atMost: show(atMost), value, measured: show(value), isMet: value <= atMost };
}

function times(reference) {
  return (value) => `${value.toFixed(2)} × ${reference}`;
}

function megabytes(value) {
  return `${value.toFixed(0)} MB`;
}
