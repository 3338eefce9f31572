import type { ClientRequest, ClientResponse } from "../client/client-message.ts";
import { sendContinue } from "../client/client-response.ts";
import { expectsContinue } from "../client/message-body.ts";
import type { Refusal } from "../problem.ts";
import { REQUEST_LATE } from "../request-problems.ts";
import { invalidRequest } from "./refusals.ts";

/** The parameters of a form by name. One without a value counts as left out (RFC 6749 §3.2). */
export type Form = ReadonlyMap<string, readonly string[]>;

/** Two tokens, and what is said of them, are far below it. */
export const MAX_FORM_BYTES = 64 * 1024;
/** So long a client may take for them: a secret that was withdrawn meanwhile is good until the form is whole. */
const FORM_TIMEOUT_MILLISECONDS = 15_000;

/** Parameters that may be there more than once (RFC 8693 §2.1, RFC 8707 §2). */
const REPEATABLE: ReadonlySet<string> = new Set(["resource", "audience"]);

/** A form; why there is none; or that the client left before it had sent it. */
export type FormReading =
  | { readonly kind: "form"; readonly form: Form }
  | Refusal
  | { readonly kind: "gone" };

/**
 * Reads the body of a request as `application/x-www-form-urlencoded` in UTF-8. A client that waits for "100 Continue" is
 * told to go on where its body is wanted.
 *
 * @param record counts what is read
 * @see RFC 6749 Appendix B
 */
export async function readForm(
  clientRequest: ClientRequest,
  clientResponse: ClientResponse,
  record: { receivedBytes: number },
  timeoutMilliseconds = FORM_TIMEOUT_MILLISECONDS,
): Promise<FormReading> {
  const { headers } = clientRequest;
  if (!isForm(headers["content-type"]))
    return invalidRequest("the parameters go into the body, as application/x-www-form-urlencoded");
  if (headers["content-encoding"] !== undefined) return invalidRequest("the body must not be compressed");
  if (Number(headers["content-length"] ?? 0) > MAX_FORM_BYTES) return TOO_LARGE;
  if (expectsContinue(clientRequest)) sendContinue(clientResponse);
  const body = await readBody(clientRequest, record, timeoutMilliseconds);
  if (!Buffer.isBuffer(body)) return body;
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch {
    return invalidRequest("the body is not in UTF-8");
  }
  return parametersOf(text);
}

/** RFC 9110 §8.3.1. Forms are in UTF-8, whatever else their type might say. */
function isForm(contentType: string | undefined): boolean {
  const match = /^application\/x-www-form-urlencoded[ \t]*(?:;[ \t]*charset="?([^"]*)"?[ \t]*)?$/i.exec(
    contentType ?? "",
  );
  return match !== null && (match[1] ?? "utf-8").toLowerCase() === "utf-8";
}

function readBody(
  clientRequest: ClientRequest,
  record: { receivedBytes: number },
  timeoutMilliseconds: number,
): Promise<Buffer | Exclude<FormReading, { kind: "form" }>> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const stop = (reading: Buffer | Exclude<FormReading, { kind: "form" }>) => {
      clientRequest.removeListener("data", take);
      clearTimeout(deadline);
      resolve(reading);
    };
    const take = (chunk: Buffer) => {
      record.receivedBytes += chunk.length;
      if (record.receivedBytes > MAX_FORM_BYTES) stop(TOO_LARGE);
      else chunks.push(chunk);
    };
    const deadline = setTimeout(() => stop(LATE), timeoutMilliseconds);
    clientRequest.on("data", take);
    clientRequest.on("end", () => stop(Buffer.concat(chunks)));
    // A client that goes away in the middle, or a stream that is reset.
    for (const event of ["error", "aborted", "close"]) clientRequest.on(event, () => stop(GONE));
  });
}

function parametersOf(text: string): FormReading {
  const form = new Map<string, string[]>();
  for (const [name, value] of new URLSearchParams(text)) {
    if (value === "") continue;
    const values = form.get(name);
    if (!values) form.set(name, [value]);
    else if (REPEATABLE.has(name)) values.push(value);
    else return invalidRequest(`there is more than one parameter ${shownName(name)}`);
  }
  return { kind: "form", form };
}

/** The name of a parameter that the standards know; any other is the client's own text. */
function shownName(name: string): string {
  return /^[a-z_]{1,32}$/.test(name) ? name : "of one name";
}

const GONE = { kind: "gone" } as const;
const LATE: Refusal = { kind: "refused", ...REQUEST_LATE };
const TOO_LARGE: Refusal = {
  kind: "refused",
  code: "ERR_BODY_TOO_LARGE",
  detail: `the body is larger than ${MAX_FORM_BYTES} bytes`,
};
