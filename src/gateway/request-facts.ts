import { queryOf } from "../policy/authenticators/credential-source.ts";
import { fieldValues } from "../policy/caller-request.ts";
import { type PathPattern, paramOf } from "../policy/path-pattern.ts";
import type { RequestFact, TemplateContext } from "../policy/template.ts";
import type { User } from "../policy/user.ts";
import type { RawFields } from "./fields.ts";

/** What is known of a request when its token is made. */
export interface RequestFacts {
  readonly method: string;
  readonly scheme: "http" | "https";
  /** Host and port that the client asked for, else the listener's own. */
  readonly authority: string;
  /** The host alone, in lower case. */
  readonly host: string;
  /** Scheme, authority and path prefix that clients use; `undefined`: what the request says itself. */
  readonly publicUrl: string | undefined;
  /** Path and query as they are forwarded: a credential in the query is gone. */
  readonly target: string;
  /** The path as the policy matched it. */
  readonly decodedPath: string;
  readonly pathPattern: PathPattern | undefined;
  readonly requestId: string;
  readonly clientAddress: string;
  /** The fields as the backend will see them: nothing that was taken out can come back in a claim. */
  readonly fields: RawFields;
}

/** Looks up what templates refer to, when they do. */
export class RequestContext implements TemplateContext {
  readonly user: User | undefined;
  readonly #facts: RequestFacts;
  /** Read when it is asked for, and once: a query may have thousands of parameters. */
  #query: URLSearchParams | undefined;

  constructor(facts: RequestFacts, user: User | undefined) {
    this.#facts = facts;
    this.user = user;
  }

  fact(fact: RequestFact): string {
    const { method, publicUrl, scheme, authority, host, target, requestId, clientAddress } = this.#facts;
    switch (fact) {
      case "method":
        return method;
      case "url":
        return `${publicUrl ?? `${scheme}://${authority}`}${target}`;
      case "origin":
        return publicUrl === undefined ? `${scheme}://${authority}` : new URL(publicUrl).origin;
      case "host":
        return host;
      case "path":
        return target.split("?", 1)[0] as string;
      case "id":
        return requestId;
      case "ip":
        return clientAddress;
    }
  }

  param(name: string): string | undefined {
    const { pathPattern, decodedPath } = this.#facts;
    return pathPattern && paramOf(pathPattern, decodedPath, name);
  }

  header(name: string): string | undefined {
    const values = fieldValues(this.#facts.fields, name);
    return values.length === 0 ? undefined : values.join(", ");
  }

  /** One that is given twice counts as missing: the backend may take the other. */
  query(name: string): string | undefined {
    this.#query ??= queryOf(this.#facts.target);
    const [value, second] = this.#query.getAll(name);
    return second === undefined ? value : undefined;
  }
}
