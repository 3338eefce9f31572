// The name of a growth, by a rule that takes the noise of a shared machine for noise:
//
// Through the ratios of a series to its smallest size three curves are laid, a + b·log n, a + b·n and a + b·n², each so that the
// sum of the squares of its relative errors is least. The one that is believed is the first from which no ratio is off by more
// than 10 %, or whose root of that sum is at most twice the least of the three. Where it rises by less than a fifth from the smallest
// size to the greatest, as it may where each ratio is off by 10 %, or where it falls, the growth is O(1).

const MOST_ERROR = 0.1;
/** A faster growth must be worth it. */
const MOST_TIMES_BEST = 2;
const LEAST_RISE = 1.2;

/** The slowest first. */
const SHAPES = {
  // There are bodies of no bytes.
  "O(log n)": (size) => Math.log2(size + 1),
  "O(n)": (size) => size,
  "O(n²)": (size) => size * size,
};

/** The name of the growth of `ratio` with `size` over some points: "O(1)", and so on. */
export function growthOf(points) {
  if (points.length < 2) return "one size";
  const curves = Object.entries(SHAPES).map(([name, shape]) => ({ name, ...curveThrough(points, shape) }));
  const most = MOST_TIMES_BEST * Math.min(...curves.map(({ error }) => error));
  const believed = curves.find(({ greatest, error }) => greatest <= MOST_ERROR || error <= most);
  return believed.rise < LEAST_RISE ? "O(1)" : believed.name;
}

/**
 * The curve a + b·x with the least squares of relative errors: `error` is the root of their sum, `greatest` the greatest of them,
 * and `rise` how many times its first value its last one is.
 */
function curveThrough(points, shape) {
  let [w, wx, wxx, wy, wxy] = [0, 0, 0, 0, 0];
  for (const { size, ratio } of points) {
    const weight = 1 / ratio ** 2;
    const x = shape(size);
    w += weight;
    wx += weight * x;
    wxx += weight * x * x;
    wy += weight * ratio;
    wxy += weight * x * ratio;
  }
  const b = (w * wxy - wx * wy) / (w * wxx - wx * wx);
  const a = (wy - b * wx) / w;
  const at = ({ size }) => a + b * shape(size);
  const errors = points.map((point) => Math.abs(at(point) / point.ratio - 1));
  return {
    error: Math.hypot(...errors),
    greatest: Math.max(...errors),
    rise: at(points.at(-1)) / at(points[0]),
  };
}
