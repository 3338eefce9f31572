import { asksAboutServer } from "../../../src/gateway/server-options.ts";
import { listOf, onlyValueOf } from "../strict-http/message.ts";
import type { StrictRequest } from "../strict-http/requests.ts";
import {
  type AnsweredRequest,
  type ResponseSequence,
  readResponses,
  type StrictResponse,
} from "../strict-http/responses.ts";
import { areasOf, credentialOf, type FuzzedConfiguration } from "./configurations.ts";
import type { Conversation, Ending } from "./conversation.ts";
import type { SentConnection, SentRequest } from "./sent-traffic.ts";

/** The field in which the recorder says whom it answers. */
export const ECHO_FIELD = "x-echo";

/** Statuses of a request whose form was wrong: nothing is read behind it. */
const CLOSING = new Set([400, 431, 505]);

const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";

/** What is wrong with what a client got; empty where nothing is. */
export function objectionsToAnswers(
  sent: SentConnection,
  ending: Ending,
  conversation: Conversation,
  configuration: FuzzedConfiguration,
): string[] {
  const { responses, brokenBecause, rest } = readAnswers(sent, conversation);
  const objections: string[] = [];
  if (brokenBecause !== undefined) objections.push(`no valid HTTP: ${brokenBecause}`);
  // Node.js takes a client that closes its side for one that is gone; and a body that is broken behind a request whose
  // answer is owed ends the connection, where 100 may have been said.
  const mayBeCut = ending === "half-closes" || (sent.sequence.hasRest && rest === CONTINUE);
  if (rest !== "" && conversation.end === "closed" && !mayBeCut)
    objections.push(`an answer was cut: ${rest}`);
  const most = sent.requests.length + (sent.sequence.hasRest ? 1 : 0);
  if (responses.length > most) objections.push(`${responses.length} answers to ${most} requests`);

  for (const [index, response] of responses.entries()) {
    const request = sent.requests[index];
    for (const objection of objectionsToAnswer(response, request, configuration, sent.isValid))
      objections.push(`answer ${index}, ${response.status}: ${objection}`);
    if (response.closes && (index < responses.length - 1 || rest !== ""))
      objections.push(`something follows answer ${index}, which closes`);
  }
  if (sent.isValid && conversation.end === "left") objections.push("the connection stays open");
  // A body that is refused is not read, so that its connection ends; what still comes then may reset it. And Node.js closes
  // where it did not come to sending 100.
  const last = sent.requests[responses.length - 1]?.request;
  const endsEarly =
    responses.at(-1)?.closes && (responses.at(-1)?.status === 401 || (last && expectsContinue(last)));
  if (sent.isValid && !endsEarly) {
    if (conversation.end === "reset") objections.push("the connection was reset");
    if (responses.length !== sent.requests.length)
      objections.push(`${responses.length} answers to ${sent.requests.length} valid requests`);
  }
  return objections;
}

/**
 * Where the parser refused a request nobody knows its method any more: such an answer to HEAD has content. And one to what a
 * strict reader does not take for a request has none, where the request path took it for HEAD.
 */
function readAnswers({ requests }: SentConnection, { received, end }: Conversation): ResponseSequence {
  const forms: AnsweredRequest[] = requests.map(({ request }) => request);
  const reading = readResponses(received, forms, end === "closed");
  if (reading.rest === "") return reading;
  const { length } = reading.responses;
  const otherForms = [
    forms.toSpliced(Math.max(0, length - 1), 1, { method: "GET", httpVersion: "1.1" }),
    [...forms.slice(0, length), { method: "HEAD", httpVersion: "1.1" } as const],
  ];
  return (
    otherForms
      .map((form) => readResponses(received, form, end === "closed"))
      .find(({ responses, rest }) => rest === "" && CLOSING.has(responses.at(-1)?.status ?? 0)) ?? reading
  );
}

function objectionsToAnswer(
  response: StrictResponse,
  sent: SentRequest | undefined,
  configuration: FuzzedConfiguration,
  isValid: boolean,
): string[] {
  const { status, fields, content, interim, closes } = response;
  const objections: string[] = [];
  if (status >= 500 && status !== 505) objections.push("no request makes the sidecar or a good backend fail");
  if (CLOSING.has(status) && !closes) objections.push("what follows a request of a wrong form is read");
  // Of a request that never became whole it is not known here what it expected.
  const mayContinue = !sent || expectsContinue(sent.request);
  if (interim.length > (mayContinue ? 1 : 0) || interim.some((interimStatus) => interimStatus !== 100))
    objections.push(`interim responses that nobody asked for: ${interim}`);

  const echo = onlyValueOf(fields, ECHO_FIELD);
  if (echo !== undefined && echo !== (sent?.marker ?? "")) objections.push(`it is the answer to ${echo}`);
  if (echo !== undefined && content !== echo && content !== "") objections.push(`its content is ${content}`);
  if (status >= 400) {
    const isHead = sent?.request.method === "HEAD" || (!sent && content === "");
    if (onlyValueOf(fields, "content-type") !== "application/problem+json")
      objections.push("it is no problem");
    else if (!isHead) objections.push(...objectionsToProblem(content, status));
  } else if (!sent) objections.push("a request that is none was served");
  if (!sent) return objections;

  const credential = credentialOf(sent.request, configuration);
  const { method, target } = sent.request;
  // What the sidecar itself can do it tells everybody, and nothing is forwarded.
  const isAboutServer = status === 204 && echo === undefined && asksAboutServer(method, target);
  if (credential === "bad" && status < 400 && !isAboutServer)
    objections.push("a bad credential was good enough");
  const isClosed = configuration.knowsKeys && areasOf(sent.originForm, configuration).has("closed");
  if (isClosed && credential !== "good" && status < 400) objections.push("no credential was good enough");
  const isRefused = credential === "bad" || (isClosed && credential !== "good");
  if (isValid && status !== (isRefused ? 401 : 200)) objections.push("a valid request was not served");
  return objections;
}

function expectsContinue({ fields }: StrictRequest): boolean {
  return listOf(fields, "expect").includes("100-continue");
}

function objectionsToProblem(content: string, status: number): string[] {
  try {
    const problem = JSON.parse(content) as Record<string, unknown>;
    const { code, requestId } = problem;
    if (problem.status !== status || typeof code !== "string" || !code.startsWith("ERR_"))
      return [`a problem without its code: ${content}`];
    // It is absent where no request could be read.
    return requestId === undefined && status !== 400 && status !== 431 && status !== 405 && status !== 408
      ? ["a problem without the request's id"]
      : [];
  } catch {
    return [`a problem that is no JSON: ${content}`];
  }
}
