import { type Answer, ask, formatPlace, jsonMapOf, type Place } from "../ask.ts";
import { COPY_REMEDY, type Finding, fail, ok, warn } from "./finding.ts";

/** Where the documents of an issuer are asked for. */
export interface Source {
  /** The URL that the issuer is known by: the `iss` of its tokens. */
  readonly url: string;
  /** Where it is asked, and the path there that stands for {@link url}. */
  readonly place: Place;
  readonly basePath: string;
}

/** The documents of an issuer, as far as they could be had. */
export interface Published {
  readonly findings: readonly Finding[];
  /** The answer with the metadata; `undefined` where nobody answered. */
  readonly answer: Answer | undefined;
  /** The metadata in it; `undefined` where there is none. */
  readonly metadata: Readonly<Record<string, unknown>> | undefined;
  /** The JWK Set; `undefined` where it could not be had. */
  readonly jwks:
    | { readonly answer: Answer; readonly document: Readonly<Record<string, unknown>> }
    | undefined;
}

/** Nobody who waits for a diagnosis waits for longer. */
const TIMEOUT_MILLISECONDS = 5000;
const DISCOVERY = "/.well-known/openid-configuration";

/**
 * Fetches the metadata and the JWK Set of an issuer as a verifier does (OpenID Connect Discovery 1.0 §4).
 *
 * @param fallback asked where the issuer cannot be reached by its URL; `undefined`: nowhere else is known
 */
export async function fetchPublished(url: string, fallback: Source | undefined): Promise<Published> {
  const { origin, pathname } = new URL(url);
  const direct: Source = { url, place: { origin }, basePath: pathname.replace(/\/$/, "") };
  try {
    const answer = await askFor(direct, DISCOVERY);
    return await read(direct, answer, [ok(REACHABLE, `${url} answers`)]);
  } catch (error) {
    const found = `${url} cannot be reached from here: ${(error as Error).message}`;
    return fetchFrom(fallback, found);
  }
}

const REACHABLE = "issuer";
const UNREACHABLE_REMEDY =
  "backends fetch the keys from this URL: see to it that they reach it, and trust its certificate (NODE_EXTRA_CA_CERTS for this command), or set issuer.url to one that they reach";

async function fetchFrom(fallback: Source | undefined, found: string): Promise<Published> {
  const nothing = (finding: Finding): Published => ({
    findings: [finding],
    answer: undefined,
    metadata: undefined,
    jwks: undefined,
  });
  if (!fallback) return nothing(fail(REACHABLE, found, `start the sidecar; ${UNREACHABLE_REMEDY}`));
  const where = formatPlace(fallback.place);
  try {
    const answer = await askFor(fallback, DISCOVERY);
    return await read(fallback, answer, [
      warn(REACHABLE, `${found}; the listener was asked instead, ${where}`, UNREACHABLE_REMEDY),
    ]);
  } catch (error) {
    const also = `nor does the listener answer, ${where}: ${(error as Error).message}`;
    return nothing(fail(REACHABLE, `${found}; ${also}`, "start the sidecar: countersign serve"));
  }
}

function askFor({ place, basePath }: Source, path: string): Promise<Answer> {
  return ask(place, `${basePath}${path}`, TIMEOUT_MILLISECONDS);
}

async function read(source: Source, answer: Answer, before: readonly Finding[]): Promise<Published> {
  const metadata = checkMetadata(source, answer);
  const uri = metadata.jwksUri;
  const keys = uri === undefined ? { findings: [], jwks: undefined } : await fetchJwks(source, uri);
  return {
    findings: [...before, ...metadata.findings, ...keys.findings],
    answer,
    metadata: metadata.document,
    jwks: keys.jwks,
  };
}

const METADATA = "discovery";
const ROUTE_REMEDY = `let this path through to the sidecar as it is, in whatever stands in front of it; on a static host: ${COPY_REMEDY}`;

interface CheckedMetadata {
  readonly findings: Finding[];
  readonly document?: Readonly<Record<string, unknown>>;
  readonly jwksUri?: string;
}

function checkMetadata({ url }: Source, answer: Answer): CheckedMetadata {
  const name = `${url}${DISCOVERY}`;
  if (answer.status !== 200)
    return { findings: [fail(METADATA, `${name} is answered with ${answer.status}`, ROUTE_REMEDY)] };
  const metadata = jsonMapOf(answer.body);
  if (!metadata) return { findings: [fail(METADATA, `${name} is no JSON document`, ROUTE_REMEDY)] };
  const { issuer, jwks_uri: jwksUri } = metadata;
  const findings =
    issuer === url
      ? [ok(METADATA, `the issuer in the document is ${url}`)]
      : [
          fail(
            METADATA,
            `the issuer in the document is ${JSON.stringify(issuer)}, and ${url} is expected`,
            "verifiers compare the two exactly: set issuer.url to what they use, and start the sidecar again; a static copy is written again then: countersign issuer export",
          ),
        ];
  findings.push(...checkType(METADATA, name, answer));
  if (typeof jwksUri !== "string" || !/^https?:/.test(jwksUri) || !URL.canParse(jwksUri))
    return {
      findings: [...findings, fail(METADATA, "the document has no jwks_uri that is a URL", ROUTE_REMEDY)],
      document: metadata,
    };
  return { findings, document: metadata, jwksUri };
}

/** Some verifiers read nothing else, and a host that goes by a file's extension does not know it. */
function checkType(check: string, name: string, { headers }: Answer): Finding[] {
  const type = headers["content-type"]?.split(";")[0]?.trim().toLowerCase();
  if (type !== undefined && /^application\/(?:[\w.-]+\+)?json$/.test(type)) return [];
  const found = `${name} comes with ${type === undefined ? "no Content-Type" : `Content-Type ${type}`}, and some verifiers read application/json alone`;
  return [warn(check, found, "have its host send Content-Type: application/json")];
}

const JWKS = "JWK Set";

async function fetchJwks(
  { url, place, basePath }: Source,
  uri: string,
): Promise<{ findings: Finding[]; jwks: Published["jwks"] }> {
  const failed = (found: string, remedy: string) => ({
    findings: [fail(JWKS, found, remedy)],
    jwks: undefined,
  });
  const { origin, pathname, search } = new URL(uri);
  const isOwn = uri.startsWith(`${url}/`);
  try {
    const answer = await (isOwn
      ? ask(place, `${basePath}${uri.slice(url.length)}`, TIMEOUT_MILLISECONDS)
      : ask({ origin }, `${pathname}${search}`, TIMEOUT_MILLISECONDS));
    if (answer.status !== 200) return failed(`${uri} is answered with ${answer.status}`, ROUTE_REMEDY);
    const document = jsonMapOf(answer.body);
    if (!document) return failed(`${uri} is no JSON document`, ROUTE_REMEDY);
    return { findings: checkType(JWKS, uri, answer), jwks: { answer, document } };
  } catch (error) {
    return failed(`${uri} cannot be reached from here: ${(error as Error).message}`, UNREACHABLE_REMEDY);
  }
}
