export type { Config } from "./config/config.ts";
export { type LoadOptions, loadConfig } from "./config/load.ts";
export { type ParsedConfig, type ParseOptions, parseConfig } from "./config/parse.ts";
export { ConfigError, type Position, type Problem } from "./config/problems.ts";
export {
  type CreateIssuerOptions,
  createIssuer,
  type IssuerIdentityOptions,
  type IssuerKeysOptions,
  type IssuerRedisOptions,
  type Pkcs11KeysOptions,
} from "./create-issuer.ts";
export { CountersignError, type ErrorCode } from "./errors.ts";
export { ListenError } from "./gateway/listen/listen-error.ts";
export { TlsFileError } from "./gateway/listen/tls-files.ts";
export type { RequestFailure } from "./gateway/request-failure.ts";
export type { RequestObserver, RequestRecord } from "./gateway/request-record.ts";
export type { SigningAlgorithm } from "./issuer/algorithms.ts";
export type { Claims, JsonValue } from "./issuer/claims-set.ts";
export type { IdentityFileEvent } from "./issuer/identity-files/identity-files.ts";
export type { Issuer, JwkSet, SignJwtOptions } from "./issuer/issuer.ts";
export { KeyError } from "./issuer/keys/key-error.ts";
export type { KeyEvent } from "./issuer/keys/key-set.ts";
export type { PublicJwk } from "./issuer/keys/signing-key.ts";
export type { ProviderMetadata } from "./issuer/metadata.ts";
export type { Metric } from "./observability/metric.ts";
export type { TracingEvent } from "./observability/traces.ts";
export { AuthenticatorError } from "./policy/authenticators/open.ts";
export {
  ModuleError,
  type PolicyModuleFunction,
  type PolicyModuleInput,
  type PolicyModuleResult,
} from "./policy/module.ts";
export type { User } from "./policy/user.ts";
export type { PolicyEvent } from "./policy-event.ts";
export { createSidecar } from "./sidecar.ts";
export type {
  CloseOptions,
  ListenerEvent,
  ReloadOutcome,
  RunningSidecar,
  Sidecar,
  SidecarOptions,
} from "./sidecar-api.ts";
