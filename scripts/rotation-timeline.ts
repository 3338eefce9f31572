// Draws docs/rotation.svg: node scripts/rotation-timeline.ts. The times in it are those that the code rotates by.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseConfig } from "../src/config/parse.ts";
import { rotationOf } from "../src/issuer/keys/key-source.ts";
import { pendingSecondsOf, retiringSecondsOf } from "../src/issuer/keys/ring.ts";

const HOUR_SECONDS = 3600;
const LEFT = 70;
const TOP = 58;
const ROW = 64;
const BAR = 30;
const WIDTH = 960;

/** Not to scale: a day beside a month would not be seen. */
const SIGNS = 330;
const PENDING = 120;
const RETIRING = 90;

const STATES = {
  pending: { fill: "#f6d58b", text: "published" },
  active: { fill: "#7cc4a0", text: "signs" },
  retiring: { fill: "#c9ced6", text: "published" },
};

/** The picture of a rotation with the default configuration, as SVG. */
export function drawRotation(): string {
  const { config } = parseConfig("upstream: http://127.0.0.1:9000", { file: "sidecar.yaml", env: {} });
  const rotation = rotationOf(config.issuer.keys);
  const days = Number(rotation.everySeconds) / (24 * HOUR_SECONDS);
  const pending = durationOf(pendingSecondsOf(rotation));
  const retiring = durationOf(retiringSecondsOf(config.issuer.expiresInSeconds));

  const starts = [0, SIGNS, 2 * SIGNS].map((x) => LEFT + PENDING + x);
  const rows = starts.map((signsFrom, row) => {
    const y = TOP + row * ROW;
    const isFirst = row === 0;
    const isLast = row === starts.length - 1;
    return [
      `<text x="16" y="${y + 20}" class="key">key ${row + 1}</text>`,
      isFirst ? "" : bar("pending", signsFrom - PENDING, PENDING, y),
      bar("active", signsFrom, isLast ? WIDTH - 16 - signsFrom : SIGNS, y, isLast ? "" : `, ${days} days`),
      isLast ? "" : bar("retiring", signsFrom + SIGNS, RETIRING, y),
    ].join("");
  });
  const [, second] = starts as [number, number];
  const bottom = TOP + starts.length * ROW;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${bottom + 74}" font-family="system-ui, sans-serif" font-size="14" role="img">
<title>Each key is published before it signs, and after it has signed</title>
<style>.key{font-weight:600}.note{font-size:13px;fill:#3d4450}line{stroke:#8a93a1;stroke-dasharray:4 3}</style>
<rect width="100%" height="100%" fill="#fff"/>
<text x="16" y="28" class="note">What the JWK Set shows, as time goes by. A verifier that fetches it at any moment knows every key that signs until it fetches it again.</text>
${rows.join("\n")}
<line x1="${second - PENDING}" x2="${second - PENDING}" y1="${TOP - 8}" y2="${bottom}"/>
<line x1="${second}" x2="${second}" y1="${TOP - 8}" y2="${bottom}"/>
<line x1="${second + RETIRING}" x2="${second + RETIRING}" y1="${TOP - 8}" y2="${bottom}"/>
<text x="${second - PENDING - 6}" y="${bottom + 18}" class="note" text-anchor="end">key 2 is made and stored</text>
<text x="${second - PENDING}" y="${bottom + 38}" class="note">published for ${pending}, so that every verifier has it</text>
<text x="${second + 6}" y="${bottom + 58}" class="note">key 1 stays for ${retiring}: its last token (${durationOf(config.issuer.expiresInSeconds)}) has ended by then</text>
</svg>
`;
}

function bar(state: keyof typeof STATES, x: number, width: number, y: number, duration = ""): string {
  const { fill, text } = STATES[state];
  return (
    `<rect x="${x}" y="${y}" width="${width}" height="${BAR}" rx="4" fill="${fill}"/>` +
    `<text x="${x + width / 2}" y="${y + 20}" text-anchor="middle">${text}${duration}</text>`
  );
}

function durationOf(seconds: number): string {
  const hours = Math.floor(seconds / HOUR_SECONDS);
  const minutes = Math.round((seconds % HOUR_SECONDS) / 60);
  return [hours > 0 ? `${hours} h` : "", minutes > 0 ? `${minutes} min` : ""].filter(Boolean).join(" ");
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  writeFileSync(new URL("../docs/rotation.svg", import.meta.url), drawRotation());
