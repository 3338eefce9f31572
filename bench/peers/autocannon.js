// Sends load by autocannon where there is no wrk, and writes what came of it as JSON:
//
//   node autocannon.js URL CONNECTIONS MILLISECONDS HEADERS
//
// Its own latencies are whole milliseconds, so those of the responses are taken one by one.
import autocannon from "autocannon";

const [url, connections, milliseconds, headers] = process.argv.slice(2);
const latencies = [];
const reasons = { status: 0, socket: 0 };

const start = performance.now();
const instance = autocannon({
  url,
  connections: Number(connections),
  headers: JSON.parse(headers),
  duration: 3600,
});
instance.on("response", (_client, statusCode, _bytes, latencyMilliseconds) => {
  latencies.push(latencyMilliseconds * 1000);
  if (statusCode >= 300) reasons.status++;
});
instance.on("reqError", () => {
  reasons.socket++;
});
setTimeout(() => {
  const seconds = (performance.now() - start) / 1000;
  const sorted = Float64Array.from(latencies).sort();
  const quantile = (share) => sorted[Math.floor(sorted.length * share)];
  const failed = reasons.status + reasons.socket;
  const figures = {
    requests: sorted.length,
    seconds,
    p50: quantile(0.5),
    p99: quantile(0.99),
    failed,
    reasons,
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`, () => process.exit());
}, Number(milliseconds));
