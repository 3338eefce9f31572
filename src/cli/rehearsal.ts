import type { Config } from "../config/config.ts";
import { issuerSettingsOf } from "../config/issuer-settings.ts";
import { issuerUrlOf, reachableAuthority, schemeOf } from "../config/listener-urls.ts";
import { hasBody } from "../gateway/client/message-body.ts";
import type { Decision } from "../gateway/decision.ts";
import type { RemovalReason } from "../gateway/fields.ts";
import { formProblemOf } from "../gateway/request-form.ts";
import { requestIdOf } from "../gateway/request-id.ts";
import { issuerOver } from "../issuer/issuer.ts";
import type { IssuerKeys } from "../issuer/keys/key-set.ts";
import { createTokens } from "../issuer/tokens.ts";
import { deciderOf, openRoutes } from "../open-routes.ts";
import type { Authenticator, Outcome } from "../policy/authenticators/authenticator.ts";
import type { PeerCertificate } from "../policy/caller-request.ts";

/** A request that nobody has sent. */
export interface ImaginedRequest {
  readonly method: string;
  /** A URL, whose authority becomes the Host field where there is none, or the request target itself. */
  readonly url: string;
  /** Field lines: name and value. */
  readonly fields: readonly (readonly [string, string])[];
  /** The IP address of the peer that it comes from, or `unix`. */
  readonly from: string;
  readonly certificate?: PeerCertificate | undefined;
}

/** What became of an imagined request. */
export interface Rehearsal {
  readonly decision: Decision;
  /** As it stands in the request line. */
  readonly requestTarget: string;
  /** Field lines as Node.js would hold them raw. */
  readonly rawFields: readonly string[];
  /** What was asked who is calling, in order. */
  readonly answers: readonly Answer[];
  readonly removedFields: readonly RemovedField[];
}

/** What an authenticator said. */
export interface Answer {
  readonly authenticator: Authenticator;
  readonly outcome: Outcome;
}

/** A field that does not go on. */
export interface RemovedField {
  /** As the request spells it. */
  readonly name: string;
  readonly reason: RemovalReason;
}

/** A configuration that decides about requests as the sidecar would, and sends none. */
export interface Stage extends AsyncDisposable {
  /** One after another. */
  rehearse(request: ImaginedRequest): Promise<Rehearsal>;
}

/** What {@link openStage} takes. */
export interface StageOptions {
  readonly keys: IssuerKeys;
  /** Answers in the place of an authenticator. */
  readonly answerFor?: (authenticator: Authenticator) => Outcome;
}

/**
 * Opens what the policies of a configuration use, behind the very stages that a real request goes through.
 *
 * @throws {CountersignError} what {@link openRoutes} throws
 */
export async function openStage(config: Config, { keys, answerFor }: StageOptions): Promise<Stage> {
  const now = Date.now;
  let answers: Answer[] = [];
  let removedFields: RemovedField[] = [];
  const { routes, close } = await openRoutes(config, {
    now,
    onEvent() {},
    own: { url: issuerUrlOf(config), keys },
    around: (authenticator) =>
      listenedTo(authenticator, answerFor, (outcome) => answers.push({ authenticator, outcome })),
  });
  const url = issuerUrlOf(config);
  const tokens = createTokens({ url, keys, now });
  const issuer = issuerOver(url, keys, tokens, issuerSettingsOf(config));
  const listenAuthority = reachableAuthority(config.listen[0].address);
  const onFieldRemoved = (name: string, reason: RemovalReason) => removedFields.push({ name, reason });
  const decide = deciderOf(config, { routes, issuer, tokens, listenAuthority, onFieldRemoved });

  return {
    async rehearse({ method, url, fields, from, certificate }) {
      const { authority = listenAuthority, requestTarget } = partsOf(url);
      const hasHost = fields.some(([name]) => name.toLowerCase() === "host");
      // The parser takes the spaces around a value off (RFC 9110 §5.5).
      const received = fields.map(
        ([name, value]) => [name, value.replaceAll(/^[ \t]+|[ \t]+$/g, "")] as const,
      );
      const rawFields = [...(hasHost ? [] : ["Host", authority]), ...received.flat()];
      const message = { httpVersion: "1.1", rawHeaders: rawFields, headers: headersOf(received) };
      answers = [];
      removedFields = [];
      const problem = formProblemOf(message, config.limits);
      const decision: Decision = problem
        ? { kind: "refused", ...problem }
        : await decide({
            method,
            requestTarget,
            httpVersion: message.httpVersion,
            rawFields,
            hasBody: hasBody(message),
            requestId: requestIdOf(message.headers["x-request-id"]),
            peer: { address: from, certificate: () => certificate },
            scheme: schemeOf(config),
          });
      return { decision, requestTarget, rawFields, answers, removedFields };
    },
    [Symbol.asyncDispose]: close,
  };
}

/** An authenticator whose answers are told. */
function listenedTo(
  authenticator: Authenticator,
  answerFor: StageOptions["answerFor"],
  tell: (outcome: Outcome) => void,
): Authenticator {
  const { name, type, place, forwardCredential, originalTokenHeader } = authenticator;
  const told = (outcome: Outcome) => {
    tell(outcome);
    return outcome;
  };
  return {
    name,
    type,
    place,
    forwardCredential,
    originalTokenHeader,
    authenticate(request) {
      const outcome = answerFor ? answerFor(authenticator) : authenticator.authenticate(request);
      return outcome instanceof Promise ? outcome.then(told) : told(outcome);
    },
    challenge: (invalidReason) => authenticator.challenge(invalidReason),
    close: () => authenticator.close(),
  };
}

/** Takes a URL apart without changing a byte of it, as a client does that sends the target as it was typed. */
function partsOf(url: string): { readonly authority?: string; readonly requestTarget: string } {
  const [, authority, rest = ""] = /^https?:\/\/([^/?#]*)(.*)$/is.exec(url) ?? [];
  if (authority === undefined) return { requestTarget: url };
  return { authority, requestTarget: rest.startsWith("/") ? rest : `/${rest}` };
}

/** The fields that are looked up by name, joined as Node.js joins them. */
function headersOf(fields: ImaginedRequest["fields"]): Record<string, string> {
  const headers: Record<string, string> = Object.create(null);
  for (const [name, value] of fields) {
    const lowerCase = name.toLowerCase();
    headers[lowerCase] = headers[lowerCase] === undefined ? value : `${headers[lowerCase]}, ${value}`;
  }
  return headers;
}
