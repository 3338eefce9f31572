declare module "parse-prometheus-text-format" {
  /** One sample; of a histogram this parser keeps less. */
  interface ParsedSample {
    readonly value?: string;
    readonly labels?: Readonly<Record<string, string>>;
  }
  interface ParsedMetric {
    readonly name: string;
    readonly help: string;
    /** In capitals. */
    readonly type: string;
    readonly metrics: readonly ParsedSample[];
  }
  /** @throws {Error} where a line is not in the format */
  export default function parsePrometheusTextFormat(text: string): readonly ParsedMetric[];
}
