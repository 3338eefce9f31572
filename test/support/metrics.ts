import parsePrometheusTextFormat from "parse-prometheus-text-format";

/** One line of a scrape. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What `/metrics` told. */
export interface Scrape {
  readonly text: string;
  /** By name, with type and meaning. */
  readonly metrics: ReadonlyMap<string, { readonly type: string; readonly help: string }>;
  readonly samples: readonly Sample[];
  /** The sum over every line of this name that has these labels, among others. */
  total(name: string, labels?: Readonly<Record<string, string>>): number;
  /** Every value that a label has in the lines of this name. */
  values(name: string, label: string): readonly (string | undefined)[];
}

/** Asks a running sidecar for its metrics. */
export async function scrape(adminUrl: string | undefined): Promise<Scrape> {
  // On a connection of its own, so that of several processes any may answer.
  const response = await fetch(`${adminUrl}/metrics`, { headers: { connection: "close" } });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  return scrapeOf(await response.text());
}

/** Reads the text format of Prometheus. */
export function scrapeOf(text: string): Scrape {
  const metrics = new Map(
    parsePrometheusTextFormat(text).map(({ name, type, help }) => [name, { type: type.toLowerCase(), help }]),
  );
  // Without its type the parser takes a histogram for what it is on the wire, and keeps the labels.
  const untyped = parsePrometheusTextFormat(text.replaceAll(/^# TYPE .*\n/gm, ""));
  const samples = untyped.flatMap((metric) =>
    metric.metrics.map(({ labels = {}, value }) => ({ name: metric.name, labels, value: Number(value) })),
  );
  const having = (name: string, labels: Readonly<Record<string, string>>) =>
    samples.filter(
      (sample) =>
        sample.name === name &&
        Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
    );
  return {
    text,
    metrics,
    samples,
    total: (name, labels = {}) => having(name, labels).reduce((sum, { value }) => sum + value, 0),
    values: (name, label) => [...new Set(having(name, {}).map(({ labels }) => labels[label]))],
  };
}
