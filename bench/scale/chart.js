import { escaped, pageOf, roundStep, styleOf } from "../svg.js";

const COLUMNS = 2;
const WIDTH = 960;
const TOP = 64;
const PANEL = { width: WIDTH / COLUMNS, height: 220 };
/** Of a panel, around what is drawn in it. */
const MARGIN = { left: 64, right: 40, top: 52, bottom: 44 };
const LEFT = MARGIN.left;
const RIGHT = PANEL.width - MARGIN.right;
const BOTTOM = PANEL.height - MARGIN.bottom;
const GRID_LINES = 4;
/** Where costs differ by more than this, equal factors take equal heights. */
const LINEAR_FACTOR = 20;

const STYLE = styleOf({
  both: ".cost{stroke-width:2;fill:none}.name{font-size:14px;font-weight:600}",
  light: ".grid{stroke:#d5dae2}.cost{stroke:#2f9e6e}",
  dark: ".grid{stroke:#2b333f}.cost{stroke:#3fb984}",
});

/** CPU time a request over size, a panel for each series. SVG. */
export function drawScale({ machine, series }) {
  const height = TOP + Math.ceil(series.length / COLUMNS) * PANEL.height;
  const summary = series.map(({ title, growth }) => `${title}: ${growth}`).join("; ");
  return pageOf({
    width: WIDTH,
    height,
    fontSize: 12,
    summary: `CPU microseconds a request as things become more. ${summary}`,
    style: STYLE,
    heading: "CPU µs a request, as things become more",
    note: `Node.js ${machine.node}, ${machine.processors}; × is the ratio to the smallest size`,
    content: series.map(panelOf),
  });
}

function panelOf({ title, sizeTitle, growth, points }, index) {
  const x = (index % COLUMNS) * PANEL.width;
  const y = TOP + Math.floor(index / COLUMNS) * PANEL.height;
  const right = sizeScale(points.map(({ size }) => size));
  const up = costScale(points.map(({ microseconds }) => microseconds));
  const spots = points.map(({ size, microseconds }) => [right(size), up.of(microseconds)]);
  const line = spots.map((spot) => spot.map((value) => value.toFixed(1)).join(" ")).join("L");
  const [lastX, lastY] = spots.at(-1);
  const middle = (LEFT + RIGHT) / 2;
  return [
    `<g transform="translate(${x} ${y})">`,
    `<text x="16" y="16" class="name">${escaped(title)}</text>`,
    `<text x="16" y="33" class="note">${escaped(growth)}</text>`,
    ...up.lines.map((cost) => gridLine(cost, up.of(cost))),
    ...points.map(({ size }) => text(right(size), BOTTOM + 18, "middle", shortNumber(size))),
    text(middle, BOTTOM + 35, "middle", sizeTitle, "note"),
    `<path class="cost" d="M${line}"/>`,
    ...spots.map(([cx, cy]) => `<circle class="own" cx="${cx.toFixed(1)}" cy="${cy.toFixed(1)}" r="3.5"/>`),
    text(lastX + 8, lastY + 4, "start", `${shortRatio(points.at(-1).ratio)}×`),
    "</g>",
  ].join("\n");
}

/** Equal factors are equally far apart; nothing stands a decade before the smallest size that is something. */
function sizeScale(sizes) {
  const smallest = sizes.find((size) => size > 0);
  const decades = (size) => (size === 0 ? -1 : Math.log10(size / smallest));
  const [first, last] = [decades(sizes[0]), decades(sizes.at(-1))];
  return (size) => LEFT + 12 + ((decades(size) - first) / (last - first)) * (RIGHT - LEFT - 24);
}

/** Where a cost stands, and at which costs there are lines. */
function costScale(costs) {
  const [least, most] = [Math.min(...costs), Math.max(...costs)];
  const height = BOTTOM - MARGIN.top;
  if (most > LINEAR_FACTOR * least) {
    const first = Math.floor(Math.log10(least));
    const last = Math.ceil(Math.log10(most));
    const lines = Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index));
    return { lines, of: (cost) => BOTTOM - ((Math.log10(cost) - first) / (last - first)) * height };
  }
  const step = roundStep(most / GRID_LINES);
  const count = Math.ceil(most / step);
  const lines = Array.from({ length: count + 1 }, (_, index) => index * step);
  return { lines, of: (cost) => BOTTOM - (cost / (count * step)) * height };
}

function gridLine(cost, y) {
  const line = `<line class="grid" x1="${LEFT}" x2="${RIGHT}" y1="${y.toFixed(1)}" y2="${y.toFixed(1)}"/>`;
  return line + text(LEFT - 8, y + 4, "end", shortNumber(cost), "note");
}

function text(x, y, anchor, content, className) {
  const style = className === undefined ? "" : ` class="${className}"`;
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}"${style}>${escaped(content)}</text>`;
}

/** 1000 is "1k". */
function shortNumber(value) {
  if (value >= 1e6) return `${value / 1e6}M`;
  return value >= 1000 ? `${value / 1000}k` : String(value);
}

function shortRatio(ratio) {
  return ratio < 10 ? ratio.toFixed(2) : ratio.toFixed(0);
}
