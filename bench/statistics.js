/** The middle of the values. */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The median of the ratios of each round, so that what slows a whole round does not count. */
export function medianRatio(values, references) {
  return median(values.map((value, round) => value / references[round]));
}
