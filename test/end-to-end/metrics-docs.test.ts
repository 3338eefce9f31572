import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { parse } from "yaml";
import { startBackend } from "../support/backend.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { readDocument } from "../support/documents.ts";
import { type Scrape, scrape } from "../support/metrics.ts";
import { REDIS_SERVER, requireProgram } from "../support/programs.ts";
import { encryptionKey, startRedis } from "../support/redis.ts";
import { startSidecar } from "../support/sidecar.ts";

const fileOf = (name: string) => readFileSync(new URL(`../../deploy/${name}`, import.meta.url), "utf8");
const HISTOGRAM_SUFFIX = /_(?:bucket|sum|count)$/;

/** A metric as it is documented. */
interface Documented {
  readonly type: string;
  readonly labels: readonly string[];
  readonly meaning: string;
}

/** The metrics of a sidecar that has done everything that has a metric. */
async function fullScrape(): Promise<Scrape> {
  await using backend = await startBackend();
  await using redis = await startRedis();
  using folder = temporaryFolder();
  await using sidecar = await startSidecar(backend.url, {
    yaml: `admin: 127.0.0.1:0\nupstream: {url: "${backend.url}", healthCheck: {path: /}}\nissuer: {keys: {redis: {url: "${redis.url}", encryptionKey: "${encryptionKey()}"}}}\nidentity: {account: a, files: [{path: ${JSON.stringify(join(folder.path, "token"))}, audience: b}]}\n`,
  });
  await (await fetch(sidecar.url)).text();
  return vi.waitFor(
    async () => {
      const metrics = await scrape(sidecar.adminUrl);
      const names = metrics.samples.map(({ name }) => name);
      expect(names).toContain("countersign_requests_total");
      expect(names).toContain("countersign_upstream_healthy");
      return metrics;
    },
    { timeout: 10_000 },
  );
}

function inScrape({ metrics, samples }: Scrape): Map<string, Documented> {
  return new Map(
    [...metrics].map(([name, { type, help }]) => {
      const own = samples.filter((sample) => baseOf(sample.name, metrics) === name);
      const labels = new Set(own.flatMap((sample) => Object.keys(sample.labels)));
      labels.delete("le");
      return [name, { type, labels: [...labels], meaning: help }];
    }),
  );
}

/** What a line of a histogram belongs to. */
function baseOf(name: string, metrics: { has(name: string): boolean }): string {
  return metrics.has(name) ? name : name.replace(HISTOGRAM_SUFFIX, "");
}

function inDocs(): Map<string, Documented> {
  const rows = readDocument("docs/metrics.md").matchAll(
    /^\| `(countersign_\w+)` +\| (\w+) +\| (.*?) +\| (.*?) +\|$/gm,
  );
  return new Map(
    [...rows].map(([, name = "", type = "", labels = "", meaning = ""]) => [
      name,
      { type, labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => String(label)), meaning },
    ]),
  );
}

/** Every `expr` of a document. */
function expressionsIn(value: unknown): string[] {
  if (typeof value !== "object" || value === null) return [];
  const { expr } = value as { expr?: unknown };
  const own = typeof expr === "string" ? [expr] : [];
  return [...own, ...Object.values(value).flatMap(expressionsIn)];
}

test("docs/metrics.md tells of every metric that a sidecar has, as the sidecar itself does", async (context) => {
  requireProgram(context, REDIS_SERVER);
  expect(inDocs()).toEqual(inScrape(await fullScrape()));
});

test.each([
  ["the alerts", "prometheus/alerts.yaml", 12],
  ["the dashboard", "grafana/countersign.json", 20],
])("%s name only metrics and labels that there are", (_what, file, atLeast) => {
  const documented = inDocs();
  const expressions = expressionsIn(parse(fileOf(file)));
  expect(expressions.length).toBeGreaterThanOrEqual(atLeast);
  for (const expression of expressions) {
    const named = [...expression.matchAll(/\bcountersign_\w+/g)].map(([name]) => name);
    expect(named, expression).not.toEqual([]);
    const bases = named.map((name) => baseOf(name, documented));
    expect(bases.filter((name) => !documented.has(name))).toEqual([]);
    const known = new Set(["instance", "le", ...bases.flatMap((name) => documented.get(name)?.labels ?? [])]);
    const labels = [
      ...[...expression.matchAll(/(\w+) *(?:=~|!~|!=|=)"/g)].map(([, label]) => String(label)),
      ...[...expression.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list]) => String(list).split(/, */)),
    ];
    expect(
      labels.filter((label) => !known.has(label)),
      expression,
    ).toEqual([]);
  }
});

test("the queries of the dashboard's variables name metrics and labels that there are", () => {
  const documented = inDocs();
  const queries = [...fileOf("grafana/countersign.json").matchAll(/label_values\((\w+), (\w+)\)/g)].map(
    ([, metric = "", label = ""]) => [metric, label] as const,
  );
  expect(queries.length).toBeGreaterThan(0);
  for (const [metric, label] of queries)
    expect(["instance", ...(documented.get(metric)?.labels ?? [])], metric).toContain(label);
});

test("every alert says what it means and what helps, also in docs/metrics.md", () => {
  const { groups } = parse(fileOf("prometheus/alerts.yaml")) as {
    groups: { rules: { alert: string; labels: object; annotations: object }[] }[];
  };
  const alerts = groups.flatMap(({ rules }) => rules);
  for (const { labels, annotations } of alerts) {
    expect(Object.keys(labels)).toEqual(["severity"]);
    expect(Object.keys(annotations)).toEqual(["summary", "description"]);
  }
  const rows = [...readDocument("docs/metrics.md").matchAll(/^\| `(Countersign\w+)`/gm)];
  expect(rows.map(([, name]) => name)).toEqual(alerts.map(({ alert }) => alert));
});
