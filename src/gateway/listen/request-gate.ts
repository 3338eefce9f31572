import type { ClientRequest, ClientResponse } from "../client/client-message.ts";

/** Answers one request, in whatever way. */
export type AnswerRequest = (clientRequest: ClientRequest, clientResponse: ClientResponse) => void;

/** Lets requests through, or keeps them for a moment. */
export class RequestGate {
  #waiting: [ClientRequest, ClientResponse, AnswerRequest][] | undefined;

  /** Answers a request now, or when the gate opens again. */
  pass(clientRequest: ClientRequest, clientResponse: ClientResponse, answer: AnswerRequest): void {
    if (this.#waiting) this.#waiting.push([clientRequest, clientResponse, answer]);
    else answer(clientRequest, clientResponse);
  }

  /** Keeps what comes from now on. */
  shut(): void {
    this.#waiting ??= [];
  }

  /** Lets through what has waited, and what comes. */
  open(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const [clientRequest, clientResponse, answer] of waiting) answer(clientRequest, clientResponse);
  }
}
