import { hash } from "node:crypto";
import { pathToFileURL } from "node:url";
import { CountersignError, reasonOf } from "../errors.ts";
import { type Claims, type JsonValue, REMEDY_BY_RESERVED_CLAIM } from "../issuer/claims-set.ts";
import type { SignJwtOptions } from "../issuer/issuer.ts";
import type { SourceEvent } from "../refresh.ts";
import { openWatchedFile } from "../watched-files.ts";
import type { TokenOverrides } from "./token-request.ts";
import type { User } from "./user.ts";

/** The `module` of a policy. */
export interface ModuleOptions {
  /** Absolute path of an ES module. */
  readonly path: string;
  /** For one request; then it is refused. */
  readonly timeoutSeconds: number;
}

/** What the function of a policy module is given: its own copy, so that what it changes has no effect elsewhere. */
export interface PolicyModuleInput {
  readonly request: {
    readonly method: string;
    /** The URL of the request, as `$request(url)` has it. */
    readonly url: string;
    readonly path: string;
    /** In lower case, without a port. */
    readonly host: string;
    readonly id: string;
    /** The address of the client. */
    readonly ip: string;
    /** The fields as the backend will see them, by name in lower case; those of several lines are joined by ", ". */
    readonly headers: Readonly<Record<string, string>>;
    /** What `match.path` found, by name. */
    readonly params: Readonly<Record<string, string>>;
  };
  /** `undefined`: the caller is anonymous. */
  readonly user: User | undefined;
  readonly policy: { readonly name: string };
  /** Signs a further token with the issuer's key. */
  readonly signJwt: (options: SignJwtOptions) => Promise<string>;
  /** Aborts when the time is up. */
  readonly signal: AbortSignal;
}

/** What the function of a policy module answers; nothing at all lets the request pass as it is. */
export interface PolicyModuleResult {
  readonly subject?: string;
  readonly audience?: string | readonly string[];
  /** Merged over `additionalClaims`; `null` takes one out. */
  readonly claims?: Claims;
  /** Refuses the request with 403; a text is told to the caller. */
  readonly deny?: boolean | string;
}

/** The default export of a policy module. */
export type PolicyModuleFunction = (
  input: PolicyModuleInput,
) => PolicyModuleResult | undefined | Promise<PolicyModuleResult | undefined>;

/** What became of a request in a module. */
export type ModuleOutcome =
  | { readonly kind: "pass"; readonly overrides: TokenOverrides }
  | { readonly kind: "denied"; readonly detail: string }
  /** It threw, took too long, or answered what cannot be used. */
  | { readonly kind: "failed"; readonly cause: string };

/** A module that has been loaded. */
export interface PolicyModule {
  /** Never throws. */
  decide(input: Omit<PolicyModuleInput, "signal">): Promise<ModuleOutcome>;
  close(): void;
}

/** A module that cannot be loaded. */
export class ModuleError extends CountersignError {
  /** Absolute. */
  readonly path: string;

  constructor(path: string, reason: string, cause?: unknown) {
    super("ERR_MODULE", `${path}: ${reason}`, { cause });
    this.path = path;
  }
}

/**
 * Loads a policy module, and loads it again when its file changes. One that cannot be loaded then leaves the one before.
 * What it imports itself is loaded once.
 *
 * @throws {ModuleError} ERR_MODULE when it cannot be read, throws while it is loaded, or exports no function
 */
export async function openModule(
  { path, timeoutSeconds }: ModuleOptions,
  onEvent: (event: SourceEvent) => void,
): Promise<PolicyModule> {
  const file = await openWatchedFile({ path, parse: (text) => load(path, text), onEvent }).catch(
    (error: unknown) => {
      if (error instanceof ModuleError) throw error;
      throw new ModuleError(path, reasonOf(error).replace(`${path}: `, ""), error);
    },
  );
  return {
    decide: (input) => decide(file.current(), input, timeoutSeconds * 1000),
    close: () => file.close(),
  };
}

/** Node.js loads a URL once: each text has one of its own. */
async function load(path: string, text: string): Promise<PolicyModuleFunction> {
  const url = pathToFileURL(path);
  url.searchParams.set("version", hash("sha256", text).slice(0, 16));
  let exports: { readonly default?: unknown };
  try {
    exports = (await import(url.href)) as typeof exports;
  } catch (error) {
    throw new ModuleError(path, `cannot be loaded: ${reasonOf(error)}`, error);
  }
  if (typeof exports.default !== "function")
    throw new ModuleError(path, "expected a function as its default export");
  return exports.default as PolicyModuleFunction;
}

async function decide(
  run: PolicyModuleFunction,
  input: Omit<PolicyModuleInput, "signal">,
  timeoutMilliseconds: number,
): Promise<ModuleOutcome> {
  const timeout = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const error = new Error(`it took longer than ${timeoutMilliseconds} ms`);
      timeout.abort(error);
      reject(error);
    }, timeoutMilliseconds);
  });
  try {
    // Called in a promise, so that what it throws at once is caught like what it throws later.
    const answer = new Promise<unknown>((resolve) => resolve(run({ ...input, signal: timeout.signal })));
    return outcomeOf(await Promise.race([answer, late]));
  } catch (error) {
    return { kind: "failed", cause: reasonOf(error) };
  } finally {
    clearTimeout(timer);
  }
}

const KEYS = ["subject", "audience", "claims", "deny"];

/** What is not understood is not guessed at: a misspelt `deny` must not let a request pass. */
function outcomeOf(result: unknown): ModuleOutcome {
  if (result === undefined) return { kind: "pass", overrides: {} };
  if (!isMap(result)) return failed("expected a map, or nothing");
  const unknown = Object.keys(result).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) return failed(`unknown key ${unknown}; the keys are ${KEYS.join(", ")}`);
  const { subject, audience, claims, deny } = result;
  if (deny !== undefined && deny !== false) {
    if (deny === true) return { kind: "denied", detail: "this request is not allowed" };
    return typeof deny === "string"
      ? { kind: "denied", detail: deny }
      : failed("deny: expected true or a text");
  }
  if (subject !== undefined && !isText(subject)) return failed("subject: expected a text that is not empty");
  const isAudience =
    isText(audience) || (Array.isArray(audience) && audience.length > 0 && audience.every(isText));
  if (audience !== undefined && !isAudience) return failed("audience: expected a text or a list of texts");
  if (claims === undefined) return { kind: "pass", overrides: { subject, audience } };
  // What counts is what JSON makes of it: a toJSON may say something else than the object.
  const plain = isMap(claims) ? plainJson(claims) : undefined;
  if (!isMap(plain)) return failed("claims: expected a map");
  const reserved = Object.keys(plain).find((name) => Object.hasOwn(REMEDY_BY_RESERVED_CLAIM, name));
  if (reserved !== undefined) return failed(`claims: ${reserved} cannot be set; ${remedyFor(reserved)}`);
  return { kind: "pass", overrides: { subject, audience, claims: plain } };
}

function remedyFor(claim: string): string {
  if (claim === "sub") return "use the key subject";
  return claim === "aud" ? "use the key audience" : "it is set by the policy's token";
}

/** A copy in which nothing is left that JSON does not know, and that the module cannot change any more. */
function plainJson(claims: Record<string, unknown>): JsonValue {
  return JSON.parse(JSON.stringify(claims)) as JsonValue;
}

function failed(cause: string): ModuleOutcome {
  return { kind: "failed", cause: `its answer cannot be used: ${cause}` };
}

/** Not an object of another kind: an Error, a Response or a Map has no keys of its own, and would say nothing. */
function isMap(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}
