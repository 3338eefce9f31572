import { dirname, resolve } from "node:path";
import type { LogFormat, LogLevel } from "../observability/log-options.ts";
import { ANONYMOUS, authenticatorOptionsOf } from "./authenticators/sections.ts";
import { clientTimeoutsOf, limitsOf } from "./client-sections.ts";
import type { Config, PolicyConfig } from "./config.ts";
import { type CrossProblem, crossProblemsOf, lateProblemsOf } from "./cross-checks.ts";
import { readDocument, type SourceDocument } from "./document.ts";
import { identityFilesOf, identityOf } from "./identity-section.ts";
import { keySourceOf } from "./issuer-settings.ts";
import { problemsOf } from "./issues.ts";
import { adminOf, listenersOf } from "./listen-section.ts";
import { byPlace, ConfigError, formatKey, type Position, type Problem } from "./problems.ts";
import { requirementOf } from "./require-section.ts";
import { type SidecarFile, sidecarSchema } from "./schema.ts";
import { shownConfiguration } from "./shown.ts";
import { referenceProblemsOf, takesTemplates } from "./templates.ts";
import { tokenEndpointProblemsOf } from "./token-endpoint-checks.ts";
import { tokenEndpointOptionsOf } from "./token-endpoint-settings.ts";
import { createTokenCompiler } from "./token-settings.ts";
import { upstreamOptionsOf } from "./upstream-section.ts";
import { warningsOf } from "./warnings.ts";

/** How a text becomes a configuration. */
export interface ParseOptions {
  /** The file's name, for messages. */
  readonly file: string;
  /** What relative paths in the file start from. Default: the folder of `file`. */
  readonly baseDirectory?: string | undefined;
  /** Where `$env(NAME)` is looked up. Default: `process.env`. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /** Takes the place of `upstream` (or of its `url`) in the file. */
  readonly upstream?: string | undefined;
  /** Takes the place of `listen` (or of its `address`) in the file. */
  readonly listen?: string | undefined;
  /** Takes the place of `admin` (or of its `address`) in the file; "false" is no listener. */
  readonly admin?: string | undefined;
  /** Takes the place of `workers` in the file. */
  readonly workers?: number | "auto" | undefined;
  /** Nothing is forwarded, whatever `policies` say: the issuer's endpoints alone are served. Default: false. */
  readonly issuerOnly?: boolean | undefined;
  /** Takes the place of `log.level` in the file. */
  readonly logLevel?: LogLevel | undefined;
  /** Takes the place of `log.format` in the file. */
  readonly logFormat?: LogFormat | undefined;
}

/** What a configuration is made from: {@link parseConfig} makes the same of it in another process. */
export interface ConfigurationSource {
  readonly text: string;
  readonly options: ParseOptions;
}

/** A configuration, and what is doubtful about it. */
export interface ParsedConfig {
  /** The file's name, as in {@link ParseOptions}. */
  readonly file: string;
  readonly source: ConfigurationSource;
  readonly config: Config;
  /** Not wrong, but worth a look: the sidecar starts all the same. */
  readonly warnings: readonly Problem[];
  /** Where the value at the end of `path` stands in the file; the nearest thing above it where it is missing. */
  positionOf(path: readonly PropertyKey[]): Position;
}

/**
 * Checks the text of a `sidecar.yaml` and completes it with every default.
 *
 * @throws {ConfigError} ERR_CONFIG with every problem in the text, each with its place
 */
export function parseConfig(text: string, options: ParseOptions): ParsedConfig {
  const { file, env = process.env, baseDirectory = dirname(file) } = options;
  const document = readDocument(text, { file, env, takesTemplates });
  if (document.value === undefined) throw new ConfigError(document.problems);

  // A configuration is read once: zod would take longer to compile the schema than to go through it.
  const how = { reportInput: true, jitless: true };
  const checked = sidecarSchema.safeParse(withOverrides(document.value, options), how);
  const problems = [...document.problems];
  const placed = ({ path, message }: CrossProblem): Problem => ({
    file,
    position: document.positionOf(path),
    key: formatKey(path),
    message,
  });
  // What a reference was to become is not known, so what the schema says of that value is of no use.
  const known = new Set(problems.map(({ key }) => key));
  if (!checked.success)
    problems.push(...problemsOf(checked.error.issues, document, file).filter(({ key }) => !known.has(key)));
  problems.push(...crossProblemsOf(document.value).map(placed));
  problems.push(...tokenEndpointProblemsOf(document.value).map(placed));
  if (checked.success)
    for (const { path, position, message } of referenceProblemsOf(checked.data, document.templateAt))
      problems.push({ file, position, key: formatKey(path), message });
  if (!checked.success || problems.length > 0) throw new ConfigError(problems.toSorted(byPlace));

  let shown: ReturnType<typeof shownConfiguration> | undefined;
  const config = deepFreeze({
    ...configOf(checked.data, document, baseDirectory),
    issuerOnly: options.issuerOnly ?? false,
    // Once, however often somebody asks: the text is read for it.
    describe() {
      shown ??= shownConfiguration(text, (written) => withOverrides(written, options), checked.data);
      return shown;
    },
  });
  const lateProblems = lateProblemsOf(config, resolve(file)).map(placed);
  if (lateProblems.length > 0) throw new ConfigError(lateProblems);
  const { positionOf } = document;
  const warnings = warningsOf(config, checked.data).map(({ path, message }): Problem => {
    if (path[0] === "listen" && options.listen !== undefined) return { file: "--listen", key: "", message };
    if (path[0] === "admin" && options.admin !== undefined) return { file: "--admin", key: "", message };
    return { file, position: positionOf(path), key: formatKey(path), message };
  });
  return { file, source: { text, options }, config, warnings, positionOf };
}

function withOverrides(value: unknown, options: ParseOptions): unknown {
  const { upstream, listen, admin, workers, logLevel, logFormat } = options;
  const top = value ?? {};
  if (typeof top !== "object" || Array.isArray(top)) return top;
  const overridden: Record<string, unknown> = { ...top };
  if (upstream !== undefined) overridden.upstream = replaceIn(overridden.upstream, "url", upstream);
  if (listen !== undefined) overridden.listen = replaceIn(overridden.listen, "address", listen);
  if (admin !== undefined)
    overridden.admin = admin === "false" ? false : replaceIn(overridden.admin, "address", admin);
  if (workers !== undefined) overridden.workers = workers;
  for (const [key, word] of Object.entries({ level: logLevel, format: logFormat }))
    if (word !== undefined) overridden.log = replaceIn(overridden.log ?? {}, key, word);
  return overridden;
}

function replaceIn(section: unknown, key: string, value: string): unknown {
  const isMap = typeof section === "object" && section !== null && !Array.isArray(section);
  return isMap ? { ...section, [key]: value } : value;
}

function configOf(
  file: SidecarFile,
  document: SourceDocument,
  baseDirectory: string,
): Omit<Config, "describe" | "issuerOnly"> {
  const token = createTokenCompiler(file.token, file.issuer.algorithm, document.templateAt);
  const upstream = upstreamOptionsOf(file.upstream, baseDirectory);
  const policies = (file.policies ?? [{ name: "default", match: {} }]).map((policy, index): PolicyConfig => {
    const authenticate = policy.authenticate ?? file.authenticate ?? [ANONYMOUS];
    return {
      name: policy.name,
      match: policy.match,
      authenticate: authenticate.filter((name) => name !== ANONYMOUS),
      allowsAnonymous: authenticate.includes(ANONYMOUS),
      require: policy.require && requirementOf(policy.require),
      module: policy.module && {
        path: resolve(baseDirectory, policy.module.file),
        timeoutSeconds: policy.module.timeout,
      },
      token:
        policy.token === "none" ? "none" : token.ofPolicy(policy.token ?? {}, ["policies", index, "token"]),
      upstream: policy.upstream ? upstreamOptionsOf(policy.upstream, baseDirectory, upstream) : upstream,
    };
  });
  return {
    listen: listenersOf(file.listen, baseDirectory),
    admin: adminOf(file.admin, baseDirectory),
    upstream,
    publicUrl: file.publicUrl,
    trustedProxies: file.trustedProxies,
    allowInPath: file.allowInPath,
    limits: limitsOf(file.limits),
    timeouts: clientTimeoutsOf(file.timeouts),
    workers: file.workers,
    issuer: {
      url: file.issuer.url,
      basePath: file.issuer.basePath,
      algorithm: file.issuer.algorithm,
      expiresInSeconds: file.issuer.expiresIn,
      jwksMaxAgeSeconds: file.issuer.jwksMaxAge,
      keys: keySourceOf(file.issuer, baseDirectory),
    },
    identity: file.identity && {
      ...identityOf(file.identity),
      files: identityFilesOf(file.identity, baseDirectory),
    },
    tokenEndpoint:
      file.tokenEndpoint &&
      tokenEndpointOptionsOf(
        file.tokenEndpoint,
        file.authenticators,
        file.issuer.algorithm,
        document.templateAt,
      ),
    log: file.log,
    token: token.defaults,
    authenticators: Object.fromEntries(
      Object.entries(file.authenticators).map(([name, section]) => [
        name,
        authenticatorOptionsOf(section, baseDirectory),
      ]),
    ),
    policies,
  };
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !(value instanceof RegExp) && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const member of Object.values(value)) deepFreeze(member);
  }
  return value;
}
