export type { Config } from "./config/config.ts";
export { type LoadOptions, loadConfig } from "./config/load.ts";
export { type ParsedConfig, type ParseOptions, parseConfig } from "./config/parse.ts";
export { ConfigError, type Problem } from "./config/problems.ts";
export { CountersignError, type ErrorCode } from "./errors.ts";
export { KeyError } from "./issuer/signing-key.ts";
export { createSidecar, type RunningSidecar, type Sidecar, type SidecarOptions } from "./sidecar.ts";
