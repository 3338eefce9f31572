import { createLocalJWKSet, type JWTPayload, jwtVerify } from "jose";
import { apiKeyEntry } from "../api-keys.ts";
import type { TestSidecar } from "../sidecar.ts";
import { valuesOf } from "../strict-http/message.ts";
import type { StrictRequest } from "../strict-http/requests.ts";
import { GOOD_KEY } from "./field-lines.ts";
import { canonicalName } from "./strict-recorder.ts";

/** A sidecar that is fuzzed, and what has to be true of it. */
export interface FuzzedConfiguration {
  readonly name: string;
  readonly yaml: string;
  /** Every field that a policy uses for its token, by canonical name. */
  readonly tokenFields: readonly string[];
  /** The field of each policy's token, and what stands before it; `undefined` for `token: none`. */
  readonly token: Readonly<Record<Area, { readonly field: string; readonly prefix: string } | undefined>>;
  /** Whether `Authorization: Bearer` is a credential. */
  readonly knowsKeys: boolean;
  /** Whether `allowInPath` lists every kind. */
  readonly allowsAmbiguity: boolean;
}

/** The part of the paths that a policy is for. */
export type Area = "open" | "closed" | "rest";

const BEARER = { field: "authorization", prefix: "Bearer " };
const SERVICE = { field: "x-service-token", prefix: "" };

export const CONFIGURATIONS: readonly FuzzedConfiguration[] = [
  {
    name: "the default",
    yaml: "",
    tokenFields: ["authorization"],
    token: { open: BEARER, closed: BEARER, rest: BEARER },
    knowsKeys: false,
    allowsAmbiguity: false,
  },
  {
    name: "API keys",
    yaml: `
token: {headerName: X-Service-Token, tokenPrefix: "", audience: backend}
authenticators: {partners: {type: apiKey, header: Authorization, scheme: Bearer, keys: [${apiKeyEntry(GOOD_KEY.key, GOOD_KEY.subject)}]}}
authenticate: [partners, anonymous]
policies:
  - {name: open, match: {path: "/open/*rest"}, token: none}
  - name: closed
    match: {path: "/closed/*rest"}
    authenticate: [partners]
    token: {headerName: X-Other-Token, tokenPrefix: Token, additionalClaims: {area: closed}}
  - {name: rest, token: {additionalClaims: {area: rest}}}
`,
    tokenFields: ["x-service-token", "x-other-token"],
    token: { open: undefined, closed: { field: "x-other-token", prefix: "Token " }, rest: SERVICE },
    knowsKeys: true,
    allowsAmbiguity: false,
  },
  {
    name: "allowInPath",
    yaml: `
allowInPath: [encodedSlash, encodedBackslash, emptySegment, pathParameters]
token: {headerName: X-Service-Token, tokenPrefix: "", audience: backend}
policies:
  - {name: open, match: {path: "/open/*rest"}, token: none}
  - {name: closed, match: {path: "/closed/*rest"}, token: {additionalClaims: {area: closed}}}
  - {name: rest, token: {additionalClaims: {area: rest}}}
`,
    tokenFields: ["x-service-token"],
    token: { open: undefined, closed: SERVICE, rest: SERVICE },
    knowsKeys: false,
    allowsAmbiguity: true,
  },
];

/** What `Authorization` says of a caller. */
export type Credential = "none" | "good" | "bad";

/** Judges the credential of a request as it was sent. */
export function credentialOf({ fields }: StrictRequest, { knowsKeys }: FuzzedConfiguration): Credential {
  const [value, second] = valuesOf(fields, "authorization");
  if (!knowsKeys || value === undefined) return "none";
  if (second !== undefined) return "bad";
  const [scheme = "", ...rest] = value.split(/[ \t]+/);
  if (scheme.toLowerCase() !== "bearer") return "none";
  return rest.length === 1 && rest[0] === GOOD_KEY.key ? "good" : "bad";
}

/** Every area that some reader could take a path to be in. */
export function areasOf(target: string, { allowsAmbiguity, yaml }: FuzzedConfiguration): ReadonlySet<Area> {
  // Of one policy nothing can be taken for another's.
  if (yaml === "") return new Set(["rest"]);
  const path = target.split("?", 1)[0] as string;
  // What is documented as that with which a policy's pattern is compared.
  const compared = allowsAmbiguity ? mergeSlashes(withoutParameters(path)) : path;
  const readings = new Set([decode(compared, /%(?!2f|5c)([0-9A-F]{2})/gi)]);
  for (const reading of readings)
    for (const read of READERS) if (readings.size < 100) readings.add(read(reading));
  return new Set([...readings].map(areaOf));
}

function areaOf(path: string): Area {
  if (path.startsWith("/open/")) return "open";
  return path.startsWith("/closed/") ? "closed" : "rest";
}

const decode = (path: string, encoded: RegExp) =>
  path.replaceAll(encoded, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
const withoutParameters = (path: string) => path.replaceAll(/;[^/]*/g, "");
const mergeSlashes = (path: string) => path.replaceAll(/\/{2,}/g, "/");
const READERS: readonly ((path: string) => string)[] = [
  withoutParameters,
  mergeSlashes,
  (path) => path.replaceAll("\\", "/"),
  (path) => decode(path, /%([0-9A-F]{2})/gi),
  (path) => path.replace(/\/(?!\.\.\/)[^/]*\/\.\.(?=\/|$)/, ""),
  (path) => path.replace(/^\/\.\.(?=\/)/, ""),
  (path) => path.replaceAll(/\/\.(?=\/|$)/g, ""),
  (path) => path.split("\0", 1)[0] as string,
];

/** Checks the tokens of requests that came through one sidecar. */
export class TokenCheck {
  readonly #configuration: FuzzedConfiguration;
  readonly #keys: ReturnType<typeof createLocalJWKSet>;
  readonly #issuer: string;

  constructor(configuration: FuzzedConfiguration, { issuer }: TestSidecar) {
    this.#configuration = configuration;
    this.#keys = createLocalJWKSet({ keys: [...issuer.jwks().keys] });
    this.#issuer = issuer.url;
  }

  /** What is wrong with the token of a request, which was sent with this credential; `undefined` where nothing is. */
  async objectionTo(request: StrictRequest, credential: Credential): Promise<string | undefined> {
    const { tokenFields, token } = this.#configuration;
    const [area, second] = areasOf(request.target, this.#configuration);
    if (area === undefined || second !== undefined)
      return `${request.target} can be read as two policies' path`;
    const found = request.fields.filter(([name]) => tokenFields.includes(canonicalName(name)));
    const place = token[area];
    if (!place) return found.length === 0 ? undefined : `a token where there should be none: ${found}`;
    const [field, another] = found;
    if (field === undefined || another !== undefined) return `${found.length} token fields: ${found}`;
    if (canonicalName(field[0]) !== place.field || !field[1].startsWith(place.prefix))
      return `the token stands in ${field}`;
    try {
      const { payload } = await jwtVerify(field[1].slice(place.prefix.length), this.#keys, {
        issuer: this.#issuer,
      });
      return this.#objectionToClaims(payload, area, request.target, credential);
    } catch (error) {
      return `${error} for ${field}`;
    }
  }

  #objectionToClaims(
    payload: JWTPayload,
    area: Area,
    target: string,
    credential: Credential,
  ): string | undefined {
    const subject = credential === "good" ? GOOD_KEY.subject : "api-gateway";
    if (payload.sub !== subject) return `the token is for ${payload.sub} instead of ${subject}`;
    if (this.#configuration.yaml === "") {
      if (!String(payload.aud).endsWith(target)) return `the audience is ${payload.aud} for ${target}`;
    } else if (payload.area !== area) return `the token is of the policy ${payload.area}`;
    return undefined;
  }
}
