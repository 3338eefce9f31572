// What one JWT signature costs, by each way that Node.js has to make one.
//
//   npm exec -s -- node bench/signing.js           under two minutes
//   npm exec -s -- node bench/signing.js --quick   under half a minute, and less exact
//
// Times drift on a shared machine, so each stands beside its ratio to what `openssl speed` takes for a signature with
// that kind of key in the same run. The ways take turns; a figure is the median of the rounds, and so is a ratio.
import { spawnSync } from "node:child_process";
import { constants, createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import { cpus, loadavg } from "node:os";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { jwtVerify, SignJWT } from "jose";

const QUICK = process.argv.includes("--quick");
// Many short turns rather than few long ones: a neighbour that slows the machine for a second slows every way alike.
const ROUNDS = QUICK ? 4 : 12;
const TURN_MILLISECONDS = QUICK ? 50 : 100;
// It takes two seconds for each kind of key, for it verifies as well.
const OPENSSL_EVERY_ROUNDS = 4;
const WARM_UP_MILLISECONDS = 20;
const RATE = "signatures/s";

/** The name that `openssl speed` has for a kind of key, what signs with it, and how to generate one. */
const KEYS = [
  ["ed25519", ["EdDSA"], "ed25519"],
  ["ecdsap256", ["ES256"], "ec", { namedCurve: "P-256" }],
  ["ecdsap384", ["ES384"], "ec", { namedCurve: "P-384" }],
  ["ecdsap521", ["ES512"], "ec", { namedCurve: "P-521" }],
  ["rsa2048", ["RS256"], "rsa", { modulusLength: 2048 }],
  ["rsa3072", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"], "rsa", { modulusLength: 3072 }],
];

/** With a header, a signing input of about 300 bytes. */
const CLAIMS = {
  iss: "http://127.0.0.1:8080/__issuer",
  sub: "api-gateway",
  aud: "https://orders.internal",
  iat: Math.floor(Date.now() / 1000),
  exp: Math.floor(Date.now() / 1000) + 300,
  env: "development",
};

/** The ways to a token. All start from the claims, as `SignJWT` does: each makes the whole token. */
function waysOf(alg, privateKey) {
  const header = { alg, kid: "cqpM_A31Wi20t-mkVN1_iFP8s9imiOdd6iW01hNXLrU", typ: "JWT" };
  const encodedHeader = base64url(JSON.stringify(header));
  const signingInput = () => Buffer.from(`${encodedHeader}.${base64url(JSON.stringify(CLAIMS))}`);
  const tokenOf = (input, signature) => `${input}.${base64url(signature)}`;
  const digest = alg === "EdDSA" ? null : `sha${alg.slice(2)}`;
  const key = { key: privateKey, ...signatureOptionsOf(alg) };
  const inLoop = (input = signingInput()) => tokenOf(input, sign(digest, input, key));
  const withCallback = (input = signingInput()) =>
    new Promise((resolve, reject) => {
      sign(digest, input, key, (error, result) => (error ? reject(error) : resolve(tokenOf(input, result))));
    });
  const withJose = () => new SignJWT(CLAIMS).setProtectedHeader(header).sign(privateKey);
  return [
    { name: "sign() in the loop", atOnce: 1, blocks: true, makeToken: inLoop },
    { name: "sign() with callback", atOnce: 1, makeToken: withCallback },
    { name: "sign() with callback", atOnce: 8, makeToken: withCallback },
    { name: "jose", atOnce: 1, makeToken: withJose },
    { name: "jose", atOnce: 8, makeToken: withJose },
  ];
}

function base64url(data) {
  return Buffer.from(data).toString("base64url");
}

/** RFC 7518 §3.4: two integers, not DER; §3.5: the salt is as long as the digest. */
function signatureOptionsOf(alg) {
  if (alg.startsWith("ES")) return { dsaEncoding: "ieee-p1363" };
  if (!alg.startsWith("PS")) return {};
  return { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
}

/** Makes one token after the other in `atOnce` lanes until the time is over; returns figures by their heading. */
async function measure({ makeToken, atOnce, blocks }, milliseconds) {
  const latencies = [];
  // Node.js before 26.5 knows only a timer, whose own period is then part of every delay.
  const delay = monitorEventLoopDelay({ samplePerIteration: true, resolution: 1 });
  delay.enable();
  const [cpuBefore, threadBefore, start] = [process.cpuUsage(), process.threadCpuUsage(), performance.now()];
  const lane = async () => {
    for (let before = start; before < start + milliseconds; ) {
      await makeToken();
      const after = performance.now();
      latencies.push((after - before) * 1000);
      before = after;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  const [cpu, thread] = [process.cpuUsage(cpuBefore), process.threadCpuUsage(threadBefore)];
  const seconds = (performance.now() - start) / 1000;
  delay.disable();
  return {
    "CPU µs": (cpu.user + cpu.system) / latencies.length,
    "of it main thread": (thread.user + thread.system) / latencies.length,
    "latency µs": median(latencies),
    // A lane in the loop never gives it back: the monitor would see one stall, and each call is one by itself.
    "longest stall µs": blocks ? latencies.reduce((a, b) => Math.max(a, b)) : delay.max / 1000,
    [RATE]: latencies.length / seconds,
  };
}

/** OpenSSL's CPU microseconds for a bare signature; `undefined` where there is no OpenSSL that tells them. */
function opensslMicroseconds(keyName) {
  const { status, stdout } = spawnSync("openssl", ["speed", "-seconds", "1", keyName], { encoding: "utf8" });
  // Versions differ in their columns, and the figures have a label of several words before them: count from the end.
  const lines = status === 0 ? stdout.trim().split("\n") : [];
  const [headings, figures] = lines.slice(-2).map((line) => line.trim().split(/\s+/));
  const rate = Number(figures?.at(headings.indexOf("sign/s") - headings.length));
  return rate > 0 ? 1e6 / rate : undefined;
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

/** A figure and its ratio: of the time to the reference's, or of the rate to that of the reference on one core. */
function cellOf(heading, rounds) {
  const ratios = rounds.map(({ figures, reference }) =>
    heading === RATE ? (figures[RATE] * reference) / 1e6 : figures[heading] / reference,
  );
  const absolute = median(rounds.map(({ figures }) => figures[heading]));
  return `${absolute.toFixed(0)} (${median(ratios).toFixed(2)}×)`;
}

const rows = [];
for (const [keyName, algorithms, ...generate] of KEYS) {
  const { privateKey } = generateKeyPairSync(...generate);
  for (const alg of algorithms) {
    for (const way of waysOf(alg, privateKey)) {
      await jwtVerify(await way.makeToken(), createPublicKey(privateKey));
      await measure(way, WARM_UP_MILLISECONDS);
      rows.push({ keyName, alg, way, rounds: [] });
    }
  }
}

const openssl = new Map(KEYS.map(([keyName]) => [keyName, []]));
for (let round = 0; round < ROUNDS; round++) {
  for (const [keyName, taken] of openssl) {
    if (round % OPENSSL_EVERY_ROUNDS === 0) taken.push(opensslMicroseconds(keyName));
    let reference = taken.at(-1);
    for (const row of rows.filter((candidate) => candidate.keyName === keyName)) {
      const figures = await measure(row.way, TURN_MILLISECONDS);
      reference ??= figures["CPU µs"]; // Without OpenSSL: the key's first row, which signs in the loop.
      row.rounds.push({ figures, reference });
    }
  }
}

const version = spawnSync("openssl", ["version"], { encoding: "utf8" }).stdout?.match(/^\S+ \S+/)?.[0];
console.log(
  `Node.js ${process.version} (OpenSSL ${process.versions.openssl}); openssl is ${version ?? "MISSING"}`,
);
console.log(
  `${cpus().length} × ${cpus()[0]?.model}, load ${loadavg()[0]}; ${ROUNDS} rounds; (×) is the ratio to`,
);
for (const [keyName, taken] of openssl) {
  const told = taken.every(Boolean) && `what openssl speed took: ${taken.map(Math.round).join(", ")} µs`;
  console.log(`- ${keyName}: ${told || "the CPU µs in the loop, for openssl is MISSING or tells nothing"}`);
}
console.log();

const headings = Object.keys(rows[0].rounds[0].figures);
const print = (cells) => console.log(`| ${cells.join(" | ")} |`);
print(["algorithm", "key", "way", "at once", ...headings]);
print(["---", "---", "---", "--:", ...headings.map(() => "--:")]);
for (const { keyName, alg, way, rounds } of rows) {
  print([alg, keyName, way.name, way.atOnce, ...headings.map((heading) => cellOf(heading, rounds))]);
}
