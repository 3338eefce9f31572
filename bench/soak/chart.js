import { escaped, pageOf, roundStep, styleOf } from "../svg.js";

const WIDTH = 960;
const LEFT = 72;
const RIGHT = 24;
const TOP = 72;
const PANEL = 96;
const GAP = 34;
const STRIP = 20;
/** A scale is divided into about so many. */
const STEPS = 3;
/** A time axis has at most so many marks. */
const MOST_TIMES = 12;

const STYLE = styleOf({
  light:
    ".line{stroke:#2f9e6e}.faint{stroke:#a9b2c0}.grid{stroke:#dfe3e8}.key{stroke:#7a5cc4}.reload{stroke:#5d6675}.bad{fill:#c93c3c}.broken{stroke:#d9822b}",
  dark: ".name{stroke:#0d1117}.line{stroke:#3fb984}.faint{stroke:#5b6676}.grid{stroke:#262d37}.key{stroke:#a48be0}.reload{stroke:#9aa5b5}.bad{fill:#ef6b6b}.broken{stroke:#f0a050}",
  both: ".line,.faint{fill:none;stroke-width:1.6;stroke-linejoin:round}.key{stroke-width:1.4}.through{stroke-dasharray:2 4;opacity:.7}.name{font-weight:600;paint-order:stroke;stroke-width:5}.small{font-size:11px}",
});

/** What was seen over time: one panel below the other, with marks where the configuration and the keys changed. SVG. */
export function drawSoak({ machine, seconds, samples, turns, marks, errorTimes, verdict }) {
  const x = (at) => LEFT + (Math.min(Math.max(at, 0), seconds) / seconds) * (WIDTH - LEFT - RIGHT);
  const during = (list) => list.filter(({ at }) => at >= 0 && at <= seconds);
  const [seen, taken] = [during(samples), during(turns.filter(({ requests }) => requests > 0))];
  const points = (list, key, factor = 1) => list.map((entry) => [entry.at, entry[key] * factor]);
  const panels = [
    {
      name: "RSS, and below it the heap, MB",
      lines: { faint: points(seen, "heapMegabytes"), line: points(seen, "residentMegabytes") },
    },
    { name: "descriptors", lines: { line: points(seen, "descriptors") } },
    {
      name: "p99, and below it p50, ms",
      lines: { faint: points(taken, "p50", 0.001), line: points(taken, "p99", 0.001) },
    },
    { name: "requests/s", lines: { line: points(taken, "requestsPerSecond") } },
    { name: `errors: ${errorTimes.length}`, bars: errorsBySlice(errorTimes, seconds) },
  ].map((panel, index) => ({ ...panel, top: TOP + GAP / 2 + index * (PANEL + GAP) }));
  const strips = [
    {
      name: "reloads",
      top: panels.at(-1).top + PANEL + GAP,
      kinds: ["reload", "broken"],
    },
    { name: "new keys", top: panels.at(-1).top + PANEL + GAP + STRIP, kinds: ["key"] },
  ];
  const bottom = strips.at(-1).top + STRIP;
  const shown = during(marks);
  const told = verdict.map(({ what, measured }) => `${what} ${measured}`).join("; ");
  return pageOf({
    width: WIDTH,
    height: bottom + 44,
    fontSize: 13,
    summary: `${minutesOf(seconds)} at full load: ${told}`,
    style: STYLE,
    heading: `${minutesOf(seconds)} at full load, with reloads, rotations and clients that break off`,
    note: `Node.js ${machine.node}, ${machine.processors}`,
    content: [
      ...shown
        .filter(({ kind }) => kind === "key")
        .map(({ at }) => vertical("key through", x(at), TOP, strips.at(-1).top)),
      ...panels.map((panel) => drawPanel(panel, x)),
      ...strips.map((strip) => drawStrip(strip, shown, x)),
      ...timesOf(seconds).map(
        (at) =>
          `<text x="${x(at).toFixed(1)}" y="${bottom + 18}" class="note small" text-anchor="middle">${timeText(at)}</text>`,
      ),
      `<text x="16" y="${bottom + 36}" class="note small">minutes; reloads in orange: of a configuration that cannot be used; dotted lines: a new key begins to sign</text>`,
    ],
  });
}

function drawPanel({ name, top, lines = {}, bars }, x) {
  const values =
    bars?.map(({ count }) => count) ??
    Object.values(lines)
      .flat()
      .map(([, value]) => value);
  const step = stepOf(Math.max(...values, 0));
  const most = Math.max(1, Math.ceil(Math.max(...values, 0) / step)) * step;
  const y = (value) => top + PANEL - (value / most) * PANEL;
  const levels = Array.from({ length: Math.round(most / step) + 1 }, (_, index) => index * step);
  const grid = levels.map(
    (level) =>
      `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(level).toFixed(1)}" y2="${y(level).toFixed(1)}"/>` +
      `<text x="${LEFT - 8}" y="${(y(level) + 4).toFixed(1)}" class="note small" text-anchor="end">${Number(level.toPrecision(6))}</text>`,
  );
  const drawn = Object.entries(lines).map(
    ([kind, points]) =>
      `<polyline class="${kind}" points="${points.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ")}"/>`,
  );
  const blocks = (bars ?? [])
    .filter(({ count }) => count > 0)
    .map(
      ({ from, until, count }) =>
        `<rect class="bad" x="${x(from).toFixed(1)}" y="${y(count).toFixed(1)}" width="${Math.max(1, x(until) - x(from) - 0.5).toFixed(1)}" height="${(top + PANEL - y(count)).toFixed(1)}"/>`,
    );
  return [
    `<text x="${LEFT}" y="${top - 8}" class="name">${escaped(name)}</text>`,
    ...grid,
    ...drawn,
    ...blocks,
  ].join("\n");
}

function drawStrip({ name, top, kinds }, marks, x) {
  const ticks = marks
    .filter(({ kind }) => kinds.includes(kind))
    .map(({ at, kind }) => vertical(kind, x(at), top - 4, top + 8));
  return `<text x="${LEFT - 8}" y="${top + 6}" class="note small" text-anchor="end">${name}</text>\n${ticks.join("")}`;
}

function vertical(kind, x, from, to) {
  return `<line class="${kind}" x1="${x.toFixed(1)}" x2="${x.toFixed(1)}" y1="${from}" y2="${to}"/>`;
}

/** How many errors there were in each hundredth of the time. */
function errorsBySlice(times, seconds) {
  const slices = 100;
  const sliceOf = (at) => Math.min(slices - 1, Math.max(0, Math.floor((at / seconds) * slices)));
  const counts = Map.groupBy(times, sliceOf);
  return Array.from({ length: slices }, (_, index) => ({
    from: (index * seconds) / slices,
    until: ((index + 1) * seconds) / slices,
    count: counts.get(index)?.length ?? 0,
  }));
}

/** How far the lines of a scale up to `most` are apart. */
function stepOf(most) {
  return most === 0 ? 1 : roundStep(most / STEPS);
}

function timesOf(seconds) {
  const step = Math.max(stepOf((seconds / 60) * (STEPS / MOST_TIMES)) * 60, 6);
  return Array.from({ length: Math.floor(seconds / step + 0.001) + 1 }, (_, index) => index * step);
}

function timeText(at) {
  return String(Number((at / 60).toFixed(2)));
}

function minutesOf(seconds) {
  return seconds === 60 ? "1 minute" : `${timeText(seconds)} minutes`;
}
