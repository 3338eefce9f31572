// Sends load by autocannon where there is no wrk, and writes what came of it as JSON:
//
//   node autocannon.js URL CONNECTIONS MILLISECONDS HEADERS
//
// Its own latencies are whole milliseconds, so those of the responses are taken one by one.
import autocannon from "autocannon";

const [url, connections, milliseconds, headers] = process.argv.slice(2);
const latencies = [];
let failed = 0;

const start = performance.now();
const instance = autocannon({
  url,
  connections: Number(connections),
  headers: JSON.parse(headers),
  duration: 3600,
});
instance.on("response", (_client, statusCode, _bytes, latencyMilliseconds) => {
  latencies.push(latencyMilliseconds * 1000);
  if (statusCode >= 300) failed++;
});
instance.on("reqError", () => failed++);
setTimeout(() => {
  const seconds = (performance.now() - start) / 1000;
  const sorted = Float64Array.from(latencies).sort();
  const quantile = (share) => sorted[Math.floor(sorted.length * share)];
  const figures = { requests: sorted.length, seconds, p50: quantile(0.5), p99: quantile(0.99), failed };
  process.stdout.write(`${JSON.stringify(figures)}\n`, () => process.exit());
}, Number(milliseconds));
