// Draws docs/fleet.svg: node scripts/fleet-timeline.ts. The times in it are those that the code goes by.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseConfig } from "../src/config/parse.ts";
import { rotationOf } from "../src/issuer/keys/key-source.ts";
import { pendingSecondsOf, reliableSecondsOf, TICK_SECONDS } from "../src/issuer/keys/ring.ts";

const WIDTH = 960;
const LEFT = 130;
const TOP = 62;
const ROW = 52;
const BAR = 30;

/** Where the moments stand. Not to scale: seconds beside hours would not be seen. */
const MADE = LEFT + 60;
const READ = MADE + 100;
const LOST = READ + 240;
const OLDEST = LOST + 120;
const SIGNS = OLDEST + 60;
const END = WIDTH - 16;

const FILL = { old: "#c9ced6", both: "#f6d58b", signs: "#7cc4a0", nothing: "#eeb4ac" };

const CONFIGURATION = `upstream: http://127.0.0.1:9000
issuer: {keys: {redis: {url: "redis://127.0.0.1", encryptionKey: "${"0".repeat(64)}"}}}`;

/** The picture of a rotation that one replica does not hear of, with the default configuration, as SVG. */
export function drawFleet(): string {
  const { config } = parseConfig(CONFIGURATION, { file: "sidecar.yaml", env: {} });
  const rotation = rotationOf(config.issuer.keys);
  const reliable = durationOf(Number(reliableSecondsOf(rotation)));
  const pending = durationOf(pendingSecondsOf(rotation));
  const maxAge = durationOf(config.issuer.jwksMaxAgeSeconds);
  const bottom = TOP + 4 * ROW;
  const moments = [MADE, READ, LOST, OLDEST, SIGNS]
    .map((x) => `<line x1="${x}" x2="${x}" y1="${TOP - 8}" y2="${bottom}"/>`)
    .join("\n");
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${bottom + 108}" font-family="system-ui, sans-serif" font-size="14" role="img">
<title>No verifier holds a JWK Set without a key when the key signs</title>
<style>.key{font-weight:600}.note{font-size:13px;fill:#3d4450}line{stroke:#8a93a1;stroke-dasharray:4 3}</style>
<rect width="100%" height="100%" fill="#fff"/>
<text x="16" y="28" class="note">What each JWK Set has in it, as time goes by: replica A makes key 2, and replica C is cut off from Redis at that very moment.</text>
${row(0, "replica A", [bar("old", LEFT, MADE, "1"), bar("both", MADE, SIGNS, "1 and 2"), bar("signs", SIGNS, END, "2 signs")])}
${row(1, "replica B", [bar("old", LEFT, READ, "1"), bar("both", READ, SIGNS, "1 and 2"), bar("signs", SIGNS, END, "2 signs")])}
${row(2, "replica C", [bar("old", LEFT, LOST, "1"), bar("nothing", LOST, END, "not ready: 503, no tokens, no JWK Set")])}
${row(3, "a verifier of C", [bar("old", LEFT, OLDEST, "1"), bar("both", OLDEST, END, "1 and 2, from another")])}
${moments}
<text x="${MADE - 6}" y="${bottom + 18}" class="note" text-anchor="end">key 2 is made and stored</text>
<text x="${READ}" y="${bottom + 18}" class="note">B is told at once, or reads it within ${2 * TICK_SECONDS} s</text>
<text x="${LOST - 6}" y="${bottom + 42}" class="note" text-anchor="end">after ${reliable} C relies no more on what it read</text>
<text x="${OLDEST - 6}" y="${bottom + 66}" class="note" text-anchor="end">the last verifier fetches again, ${maxAge} (jwksMaxAge) later</text>
<text x="${SIGNS}" y="${bottom + 90}" class="note" text-anchor="end">${pending} after it was stored, key 2 signs, everywhere</text>
</svg>
`;
}

function row(index: number, name: string, bars: readonly ((y: number) => string)[]): string {
  const y = TOP + index * ROW;
  return `<text x="16" y="${y + 20}" class="key">${name}</text>${bars.map((draw) => draw(y)).join("")}`;
}

function bar(fill: keyof typeof FILL, from: number, until: number, text: string): (y: number) => string {
  return (y) =>
    `<rect x="${from}" y="${y}" width="${until - from}" height="${BAR}" rx="4" fill="${FILL[fill]}"/>` +
    `<text x="${(from + until) / 2}" y="${y + 20}" text-anchor="middle">${text}</text>`;
}

function durationOf(seconds: number): string {
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.round((seconds % 3600) / 60);
  return [hours > 0 ? `${hours} h` : "", minutes > 0 ? `${minutes} min` : ""].filter(Boolean).join(" ");
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  writeFileSync(new URL("../docs/fleet.svg", import.meta.url), drawFleet());
