import fc from "fast-check";
import { expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { fuzz, fuzzTestTimeout } from "../support/fuzzing/bounded-run.ts";
import { converse } from "../support/fuzzing/conversation.ts";
import {
  ANSWER_FIELD,
  bytesOf,
  contentOf,
  type LegalRequest,
  legalRequests,
  readWantedAnswer,
} from "../support/legal-traffic.ts";
import { startSidecar } from "../support/sidecar.ts";
import type { FieldLine } from "../support/strict-http/message.ts";
import { readResponses } from "../support/strict-http/responses.ts";

/**
 * Every field in which a request or a response may differ where it comes through the sidecar. All others are the same, in
 * the same order, byte for byte. (A reason phrase that is empty or beyond ASCII becomes the usual one.)
 */
const DIFFERENCES: Readonly<Record<"request" | "response", Readonly<Record<string, string>>>> = {
  request: {
    "x-service-token": "the token",
    "x-forwarded-for": "says who the client is; a stranger's own is taken out",
    "x-forwarded-proto": "says how the client came",
    "x-forwarded-host": "says whom the client asked",
    "x-request-id": "made where the client gives none",
    via: "names the sidecar behind those before it",
    connection: "is about one connection",
    "keep-alive": "is about one connection",
    te: "is about one connection",
    "x-dropped": "was named by Connection",
    host: "is compared by itself: with preserveHost: false it is the backend's",
    "content-length":
      "is compared by itself: it stands elsewhere, and may be missing or 0 where the body is empty",
    "transfer-encoding":
      "is compared by itself: it stands elsewhere, and may be missing where the body is empty",
  },
  response: {
    connection: "is about one connection",
    "keep-alive": "is about one connection",
    "transfer-encoding": "is about one connection",
    date: "the second may have passed",
    via: "may name the sidecar",
  },
};

/** A request as the backend read it. */
interface Seen {
  readonly method: string;
  readonly url: string;
  readonly fields: readonly FieldLine[];
  readonly host: string | undefined;
  readonly length: string | undefined;
  readonly coding: string | undefined;
  readonly body: string;
}

/** A backend that answers as it is asked to, and keeps what it read. */
async function startObedientBackend() {
  const seen: Seen[] = [];
  const backend = await startBackend(async (request, response) => {
    const body = Buffer.concat(await request.toArray()).toString("latin1");
    const { method = "", url = "", headers, rawHeaders } = request;
    const fields = sameFields(linesOf(rawHeaders), "request");
    // How an empty body is framed says nothing.
    const length = body === "" ? undefined : headers["content-length"];
    const coding = body === "" ? undefined : headers["transfer-encoding"];
    seen.push({ method, url, fields, host: headers.host, length, coding, body });
    const answer = readWantedAnswer(String(headers[ANSWER_FIELD.toLowerCase()]));
    const content = contentOf(answer);
    const framing = answer.framing === "length" ? ["Content-Length", String(content.length)] : [];
    const bodiless = answer.status === 204 || answer.status === 304;
    response.writeHead(answer.status, answer.reason, [...answer.fields.flat(), ...(bodiless ? [] : framing)]);
    response.write(content.subarray(0, content.length >> 1));
    response.end(content.subarray(content.length >> 1));
  });
  return { backend, take: () => seen.splice(0) };
}

function linesOf(rawHeaders: readonly string[]): FieldLine[] {
  return rawHeaders.flatMap((name, index) =>
    index % 2 === 0 ? [[name, String(rawHeaders[index + 1])] as const] : [],
  );
}

function sameFields(fields: readonly FieldLine[], of: "request" | "response"): FieldLine[] {
  return fields.filter(([name]) => !Object.hasOwn(DIFFERENCES[of], name.toLowerCase()));
}

function inOrder(seen: readonly Seen[]): readonly Seen[] {
  return seen.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
}

/** Sends requests over one connection; gives the responses without what may differ. */
async function responsesTo(requests: readonly LegalRequest[], port: number) {
  const bytes = requests.map((request, index) =>
    bytesOf(request, index === requests.length - 1 ? "close" : "keep-alive"),
  );
  const { received, end } = await converse(port, [bytes.join("")], "waits");
  const { responses, brokenBecause, rest } = readResponses(received, requests, end === "closed");
  return {
    end,
    brokenBecause,
    rest,
    // A response of HTTP/1.0 may be delimited by its length or by the end of the connection.
    responses: responses.map(({ status, reason, fields, content }) => ({
      status,
      reason,
      fields: sameFields(fields, "response"),
      content,
    })),
  };
}

test(
  "what comes through the sidecar is what comes straight, but for the fields that are documented",
  async () => {
    await using stack = new AsyncDisposableStack();
    const straight = await startObedientBackend();
    const behind = await startObedientBackend();
    stack.use(straight.backend);
    stack.use(behind.backend);
    const token = "token: {headerName: X-Service-Token}\n";
    const preserving = stack.use(await startSidecar(behind.backend.url, { yaml: token }));
    const replacing = stack.use(
      await startSidecar("", {
        yaml: `${token}upstream: {url: "${behind.backend.url}", preserveHost: false}`,
      }),
    );
    let requestCount = 0;

    await fuzz({
      name: "differential",
      seconds: 8,
      arbitrary: fc.tuple(legalRequests, fc.boolean()),
      minimumRuns: 20,
      counts: () => ({ requests: requestCount }),
      async check([requests, preservesHost]) {
        requestCount += requests.length;
        const expected = await responsesTo(requests, straight.backend.port);
        const sidecar = preservesHost ? preserving : replacing;

        const actual = await responsesTo(requests, sidecar.port);

        // Of requests that are sent ahead either may be first at the backend.
        const { host } = new URL(behind.backend.url);
        const arrived = inOrder(behind.take());
        const sent = inOrder(straight.take().map((seen) => (preservesHost ? seen : { ...seen, host })));
        expect(actual).toEqual(expected);
        expect(arrived).toEqual(sent);
        expect(actual.responses).toHaveLength(requests.length);
      },
    });
  },
  fuzzTestTimeout,
);
