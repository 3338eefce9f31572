import type { RequestRecord } from "../gateway/request-record.ts";
import { counter, type Metric } from "./metric.ts";

/** What backends answered to the tokens of one key. */
interface Answers {
  readonly kid: string;
  unauthorized: number;
  forbidden: number;
  other: number;
}

/** Counts what backends answer to tokens, by the key that signed them: a rotation that verifiers missed is seen there. */
export class KeyAnswers {
  /** By the encoded header of the token, which is the same for all tokens of a key. */
  readonly #byHeader = new Map<string, Answers>();

  /** Counts a request that has ended. */
  add({ jwt, upstreamStatus }: RequestRecord): void {
    if (jwt === undefined || upstreamStatus === undefined) return;
    const header = jwt.slice(0, jwt.indexOf("."));
    let answers = this.#byHeader.get(header);
    if (!answers) {
      answers = { kid: kidIn(header), unauthorized: 0, forbidden: 0, other: 0 };
      this.#byHeader.set(header, answers);
    }
    if (upstreamStatus === 401) answers.unauthorized++;
    else if (upstreamStatus === 403) answers.forbidden++;
    else answers.other++;
  }

  /** @param kids of the keys that are published; what is known of others is forgotten */
  metrics(kids: readonly string[]): readonly Metric[] {
    for (const [header, { kid }] of this.#byHeader) if (!kids.includes(kid)) this.#byHeader.delete(header);
    const known = [...this.#byHeader.values()];
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
}

/** RFC 7515 §4.1.4. The header is Countersign's own. */
function kidIn(header: string): string {
  return (JSON.parse(Buffer.from(header, "base64url").toString()) as { kid: string }).kid;
}
