import { periodOf } from "./periods.js";

/** Of the budget: what the last minute may be of the second one. */
const MOST_RATIO = 1.1;

/** Line by line `what` it is about, what it may be `atMost`, what was `measured`, and whether it `isMet`. */
export function verdictOf({ seconds, periodSeconds, seen, tally, started, left, verifier }) {
  const second = periodOf(seen, periodSeconds, 2 * periodSeconds);
  const last = periodOf(seen, seconds - periodSeconds, seconds);
  const [before, after] =
    periodSeconds === 60 ? ["the second minute", "last minute"] : ["the second tenth", "last tenth"];
  const ratio = (what, key, show) => {
    if (second === undefined || last === undefined)
      return { what, atMost: `${MOST_RATIO} × ${before}`, measured: "too little was seen", isMet: false };
    const value = last[key] / second[key];
    return {
      what: `${what} of the ${after}`,
      atMost: `${MOST_RATIO} × ${before}`,
      measured: `${value.toFixed(2)} × (${show(second[key])} → ${show(last[key])})`,
      isMet: value <= MOST_RATIO,
    };
  };
  return [
    ratio("RSS", "residentMegabytes", (value) => `${value.toFixed(0)} MB`),
    ratio("p99", "p99", (value) => `${(value / 1000).toFixed(2)} ms`),
    ratio("descriptors", "descriptors", (value) => value.toFixed(0)),
    none("errors", tally.count),
    none("connections that are left when all clients are gone", left.connections),
    none("WebSockets that are left", left.webSockets),
    none("requests that are left", left.requestsInFlight),
    {
      what: "descriptors that are left",
      atMost: `${started.descriptors}, as after the start`,
      measured: String(left.descriptors),
      isMet: left.descriptors <= started.descriptors,
    },
    {
      what: "tokens that a backend's verifier was sent",
      atMost: "all verify",
      measured: `${verifier.verified} verified, of ${verifier.kids.size} keys`,
      // Each that does not is an error above.
      isMet: verifier.verified > 0,
    },
  ];
}

function none(what, value) {
  return { what, atMost: "0", measured: String(value), isMet: value === 0 };
}
