import { type RequestErrorCode, statusByCode } from "../errors.ts";
import type { RequestRecord } from "../gateway/request-record.ts";
import type { Authentication } from "../policy/authenticate.ts";
import { Durations, histogram, NETWORK_SECONDS } from "./durations.ts";
import { counter, type Metric } from "./metric.ts";

/** RFC 9110 §9 and RFC 5789. A client may send any other name; those count together. */
const METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
const METHOD_LABELS: readonly string[] = [...METHODS, "other"];
const METHOD_INDEXES = new Map(METHODS.map((method, index) => [method, index]));
const OTHER_METHOD = METHODS.length;

/** Above every status; the method stands above it in the key of a count. */
const STATUS_LIMIT = 1000;
/** The status of a request whose client left before its answer. */
const NO_STATUS = 0;

/** What a count is changed through, so that counting looks nothing up twice. */
interface Count {
  value: number;
}

/** What is counted of the requests for one policy. */
class PolicyCounts {
  /** By index of the method and status. */
  readonly requests = new Map<number, Count>();
  /** By authenticator ("" where it is none's) and outcome. */
  readonly authentications = new Map<string, Map<Authentication["kind"], Count>>();
  readonly duration = new Durations(NETWORK_SECONDS);
  readonly upstream = new Durations(NETWORK_SECONDS);
  receivedBytes = 0;
  relayedBytes = 0;
}

/** Counts requests as they end. */
export class RequestMetrics {
  /** By name, so that a policy goes on counting where a reload leaves it. "" is for requests that matched none. */
  readonly #policies = new Map<string, PolicyCounts>();
  readonly #errors = new Map<RequestErrorCode, Count>();
  #tokensRefused = 0;

  constructor() {
    for (const code of Object.keys(statusByCode)) this.#errors.set(code as RequestErrorCode, { value: 0 });
  }

  /** Counts a request that has ended. */
  add(record: RequestRecord): void {
    const { code, endedAt, forwardedAt, upstreamRespondedAt } = record;
    const counts = this.#countsOf(record.policy?.name ?? "");
    const method = METHOD_INDEXES.get(record.clientRequest.method ?? "") ?? OTHER_METHOD;
    countOf(counts.requests, method * STATUS_LIMIT + (record.status ?? NO_STATUS)).value++;
    if (record.authentication) countAuthentication(counts, record.authentication);
    // A tunnel takes for as long as both sides like.
    if (endedAt !== undefined && !record.isTunnel) counts.duration.add(endedAt - record.receivedAt);
    if (forwardedAt !== undefined && upstreamRespondedAt !== undefined)
      counts.upstream.add(upstreamRespondedAt - forwardedAt);
    counts.receivedBytes += record.receivedBytes;
    counts.relayedBytes += record.relayedBytes;
    if (code === undefined) return;
    countOf(this.#errors, code).value++;
    if (code === "ERR_SIGNING_FAILED" || code === "ERR_TOKEN_TOO_LARGE") this.#tokensRefused++;
  }

  /** Counts a message that could not be read as a request. */
  addUnreadable(code: RequestErrorCode): void {
    countOf(this.#errors, code).value++;
  }

  /** Requests that were refused because they got no token. */
  get tokensRefused(): number {
    return this.#tokensRefused;
  }

  metrics(): readonly Metric[] {
    const policies = [...this.#policies];
    const ofPolicies = (read: (counts: PolicyCounts) => number) =>
      policies.map(([policy, counts]) => ({ labels: { policy }, value: read(counts) }));
    return [
      counter(
        "countersign_requests_total",
        "Requests that have ended, by policy, method and status of the answer; a WebSocket counts when it ends.",
        policies.flatMap(([policy, { requests }]) =>
          [...requests].map(([key, { value }]) => ({ labels: { policy, ...labelsOf(key) }, value })),
        ),
      ),
      counter(
        "countersign_errors_total",
        "Requests and messages that were answered with a problem, by its code.",
        [...this.#errors].map(([code, { value }]) => ({ labels: { code }, value })),
      ),
      histogram(
        "countersign_request_duration_seconds",
        "From the head of a request to the end of its answer, without WebSockets.",
        policies.map(([policy, { duration }]) => [{ policy }, duration]),
      ),
      histogram(
        "countersign_upstream_duration_seconds",
        "From forwarding a request to the head of the answer.",
        policies.map(([policy, { upstream }]) => [{ policy }, upstream]),
      ),
      counter(
        "countersign_request_body_bytes_total",
        "Bytes of the bodies of requests that have been read; of a WebSocket, all that came.",
        ofPolicies(({ receivedBytes }) => receivedBytes),
      ),
      counter(
        "countersign_response_body_bytes_total",
        "Bytes of the bodies of answers that have been relayed; of a WebSocket, all that was sent.",
        ofPolicies(({ relayedBytes }) => relayedBytes),
      ),
      counter(
        "countersign_authentications_total",
        "What authentication came to.",
        policies.flatMap(([policy, { authentications }]) =>
          [...authentications].flatMap(([authenticator, outcomes]) =>
            [...outcomes].map(([outcome, { value }]) => ({
              labels: { policy, authenticator, outcome },
              value,
            })),
          ),
        ),
      ),
    ];
  }

  #countsOf(policy: string): PolicyCounts {
    let counts = this.#policies.get(policy);
    if (!counts) {
      counts = new PolicyCounts();
      this.#policies.set(policy, counts);
    }
    return counts;
  }
}

function countOf<K>(counts: Map<K, Count>, key: K): Count {
  let count = counts.get(key);
  if (!count) {
    count = { value: 0 };
    counts.set(key, count);
  }
  return count;
}

function countAuthentication({ authentications }: PolicyCounts, authentication: Authentication): void {
  const authenticator = "authenticator" in authentication ? authentication.authenticator.name : "";
  let outcomes = authentications.get(authenticator);
  if (!outcomes) {
    outcomes = new Map();
    authentications.set(authenticator, outcomes);
  }
  countOf(outcomes, authentication.kind).value++;
}

function labelsOf(key: number): { readonly method: string; readonly code: string } {
  const status = key % STATUS_LIMIT;
  const method = METHOD_LABELS[Math.floor(key / STATUS_LIMIT)] as string;
  return { method, code: status === NO_STATUS ? "none" : String(status) };
}
