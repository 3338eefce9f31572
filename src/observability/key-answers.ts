import type { RequestRecord } from "../gateway/request-record.ts";
import { counter, type Metric } from "./metric.ts";
import { decodedPart } from "./token-part.ts";

/** What backends answered to the tokens of one key. */
interface Answers {
  readonly kid: string;
  /** What every token of the key begins with: its encoded header, and the dot behind it. */
  readonly start: string;
  unauthorized: number;
  forbidden: number;
  other: number;
}

/** Counts what backends answer to tokens, by the key that signed them: a rotation that verifiers missed is seen there. */
export class KeyAnswers {
  /** Few, so that to compare them costs less than to look one up. */
  #known: readonly Answers[] = [];

  /** Counts a request that has ended. */
  add({ jwt, upstreamStatus }: RequestRecord): void {
    if (jwt === undefined || upstreamStatus === undefined) return;
    const answers = this.#answersTo(jwt);
    if (upstreamStatus === 401) answers.unauthorized++;
    else if (upstreamStatus === 403) answers.forbidden++;
    else answers.other++;
  }

  /** @param kids of the keys that are published; what is known of others is forgotten */
  metrics(kids: readonly string[]): readonly Metric[] {
    const known = this.#known.filter(({ kid }) => kids.includes(kid));
    this.#known = known;
    const sum = (kid: string, of: (answers: Answers) => number) =>
      known.filter((answers) => answers.kid === kid).reduce((total, answers) => total + of(answers), 0);
    return [
      counter(
        "countersign_upstream_token_answers_total",
        "Answers of backends to requests with a token, by the key that signed it: 401, 403 or other.",
        kids.flatMap((kid) => [
          { labels: { kid, answer: "401" }, value: sum(kid, ({ unauthorized }) => unauthorized) },
          { labels: { kid, answer: "403" }, value: sum(kid, ({ forbidden }) => forbidden) },
          { labels: { kid, answer: "other" }, value: sum(kid, ({ other }) => other) },
        ]),
      ),
    ];
  }

  #answersTo(jwt: string): Answers {
    // A slice is no copy, and to compare it costs a third of `startsWith`.
    for (const answers of this.#known)
      if (jwt.slice(0, answers.start.length) === answers.start) return answers;
    const start = jwt.slice(0, jwt.indexOf(".") + 1);
    const answers = { kid: String(decodedPart(start).kid), start, unauthorized: 0, forbidden: 0, other: 0 };
    this.#known = [...this.#known, answers];
    return answers;
  }
}
