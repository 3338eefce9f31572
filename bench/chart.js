import { median, medianRatio } from "./statistics.js";
import { escaped, pageOf, styleOf } from "./svg.js";

const WIDTH = 960;
const LEFT = 480;
const RIGHT = 130;
const TOP = 60;
const ROW = 28;
const BAR = 18;
/** A bar of more than so many limits is cut, or the others could not be told apart. */
const LONGEST_LIMITS = 8;

const STYLE = styleOf({
  light: ".cut{stroke:#fff}line{stroke:#5d6675}",
  dark: ".cut{stroke:#0d1117}line{stroke:#9aa5b5}",
  both: ".cut{stroke-width:3}line{stroke-dasharray:4 3}.name{font-weight:600}",
});

/** The CPU time a request of each contestant as a bar, the least first; a line stands at the limit of the stack. SVG. */
export function drawChart({ machine, contestants }) {
  const limits = contestants[0].rounds.map(({ microseconds }) => microseconds);
  const rows = contestants
    .map(({ title, isCountersign, rounds }) => {
      const values = rounds.map(({ microseconds }) => microseconds);
      return { title, isCountersign, value: median(values), ratio: medianRatio(values, limits) };
    })
    .toSorted((a, b) => a.value - b.value);
  const longest = Math.min(rows.at(-1).value, LONGEST_LIMITS * median(limits));
  const scale = (WIDTH - LEFT - RIGHT) / longest;
  const bottom = TOP + rows.length * ROW;
  const limit = LEFT + median(limits) * scale;
  const values = rows.map(({ title, value }) => `${title} ${value.toFixed(1)}`).join("; ");
  return pageOf({
    width: WIDTH,
    height: bottom + 36,
    fontSize: 13,
    summary: `CPU microseconds a request, less is better: ${values}`,
    style: STYLE,
    heading: "CPU µs a request, less is better",
    note: `Node.js ${machine.node}, ${machine.processors}; × is the ratio to bare undici`,
    content: [
      ...rows.map((row, index) => barOf(row, TOP + index * ROW, scale, longest)),
      `<line x1="${limit.toFixed(1)}" x2="${limit.toFixed(1)}" y1="${TOP - 4}" y2="${bottom + 4}"/>`,
      `<text x="${limit.toFixed(1)}" y="${bottom + 22}" class="note" text-anchor="middle">the limit of this stack</text>`,
    ],
  });
}

function barOf({ title, isCountersign, value, ratio }, y, scale, longest) {
  const width = Math.min(value, longest) * scale;
  const middle = y + BAR - 4;
  const cut = `<path class="cut" d="M${LEFT + width - 24} ${y + BAR + 2}l8 -${BAR + 4}m6 0l-8 ${BAR + 4}"/>`;
  return (
    `<text x="${LEFT - 10}" y="${middle}" text-anchor="end"${isCountersign ? ' class="name"' : ""}>${escaped(title)}</text>` +
    `<rect class="${isCountersign ? "own" : "other"}" x="${LEFT}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" rx="3"/>` +
    (value > longest ? cut : "") +
    `<text x="${(LEFT + width + 8).toFixed(1)}" y="${middle}">${value.toFixed(1)} (${ratio.toFixed(2)}×)</text>`
  );
}
