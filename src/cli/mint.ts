import { type Command, Option } from "commander";
import type { Config } from "../config/config.ts";
import { issuerSettingsOf } from "../config/issuer-settings.ts";
import { keyNeedsOf } from "../config/key-needs.ts";
import { issuerUrlOf } from "../config/listener-urls.ts";
import type { ParsedConfig } from "../config/parse.ts";
import { ConfigError, nearest } from "../config/problems.ts";
import { DURATION_EXPECTED, parseDuration } from "../duration.ts";
import type { SigningAlgorithm } from "../issuer/algorithms.ts";
import type { Claims, TokenRequest } from "../issuer/claims-set.ts";
import { type Issuer, issuerOver } from "../issuer/issuer.ts";
import { KeyError } from "../issuer/keys/key-error.ts";
import { openKeys } from "../issuer/keys/key-source.ts";
import { createTokens, type Tokens } from "../issuer/tokens.ts";
import type { TokenSettings } from "../policy/policy.ts";
import { describeTemplate, type TemplateContext } from "../policy/template.ts";
import { claimTemplatesOf, tokenRequestOf } from "../policy/token-request.ts";
import { claimsOf } from "./claims.ts";
import {
  algorithmOption,
  type ConfigurationFlags,
  configOption,
  printWarnings,
  readConfiguration,
} from "./configuration.ts";
import { UsageError } from "./usage-error.ts";

interface MintFlags extends ConfigurationFlags {
  readonly policy?: string;
  readonly subject?: string;
  readonly audience?: string[];
  readonly expiresIn?: string;
  readonly claim?: string[];
  readonly algorithm?: SigningAlgorithm;
  readonly notBefore?: true;
  readonly tokenId?: true;
  readonly identity?: true;
  readonly json?: true;
}

/** `countersign mint`: signs one token with the key that the running sidecar signs with. */
export function addMintCommand(program: Command): Command {
  return program
    .command("mint")
    .summary("sign one token and print it")
    .description(
      "Signs one token with the configured key and prints it. It says what the token settings at the top of the configuration say, and lives for issuer.expiresIn; with --policy it is what this policy would send. The other options change that.",
    )
    .addOption(configOption())
    .option("--policy <name>", "start from the token settings of this policy")
    .option("--subject <sub>", "the sub claim (default: the configured one)")
    .option("--audience <aud...>", "the aud claim (default: the configured one, if any)")
    .option("--expires-in <duration>", "such as 5m or 300s (default: the policy's, else issuer.expiresIn)")
    .option("--claim <name=value...>", "a further claim; a value that is JSON is taken as such")
    .addOption(algorithmOption("the signing algorithm (default: the configured one)"))
    .option("--not-before", "add the claim nbf")
    .option("--token-id", "add the claim jti, a unique id")
    .addOption(
      new Option("--identity", "an ID token of this deployment, as the admin listener gives").conflicts([
        "policy",
        "subject",
        "expiresIn",
        "claim",
        "algorithm",
        "notBefore",
        "tokenId",
      ]),
    )
    .option("--json", "print the token, its header and its claims as JSON")
    .action(async (flags: MintFlags) => {
      const parsed = await readConfiguration(flags);
      printWarnings(parsed.warnings);
      const token = await withIssuer(parsed, ({ issuer, tokens }) =>
        flags.identity
          ? issuer.getIdToken({ audience: onlyAudience(flags) })
          : tokens.tokenFor(requestOf(flags, parsed.config)),
      );
      console.log(flags.json ? JSON.stringify({ token, ...decode(token) }, undefined, 2) : token);
    });
}

function requestOf(flags: MintFlags, config: Config): TokenRequest {
  const settings = flags.policy === undefined ? withoutPolicy(config) : ofPolicy(flags.policy, config);
  checkNotEmpty("--subject", flags.subject);
  checkNotEmpty("--audience", ...(flags.audience ?? []));
  const configured = tokenRequestOf(settings, NO_REQUEST);
  const audience = flags.audience?.length === 1 ? flags.audience[0] : flags.audience;
  if (flags.policy !== undefined && audience === undefined && configured.audience === undefined)
    throw new UsageError(
      `--policy: the audience of ${flags.policy} is the URL of each request; name one with --audience`,
    );
  const given = claimsOf(flags.claim ?? [], REMEDIES);
  tellOfMissing(settings, { ...configured.additionalClaims, ...given });
  return {
    ...configured,
    subject: flags.subject ?? configured.subject,
    audience: audience ?? configured.audience,
    lifetimeSeconds: flags.expiresIn === undefined ? settings.lifetimeSeconds : lifetimeOf(flags.expiresIn),
    additionalClaims: { ...configured.additionalClaims, ...given },
    algorithm: flags.algorithm ?? settings.algorithm,
    notBefore: flags.notBefore ?? settings.notBefore,
    tokenId: flags.tokenId ?? settings.tokenId,
  };
}

/** There is neither a user nor a request: what refers to them is missing. */
const NO_REQUEST: TemplateContext = {
  user: undefined,
  fact: () => undefined,
  param: () => undefined,
  header: () => undefined,
  query: () => undefined,
};

function tellOfMissing(settings: TokenSettings, claims: Claims): void {
  for (const [name, template] of claimTemplatesOf(settings))
    if (!Object.hasOwn(claims, name))
      console.error(
        `note: the claim ${name} is ${describeTemplate(template)}, which only a request has; give it with --claim`,
      );
}

function onlyAudience({ audience = [] }: MintFlags): string | undefined {
  if (audience.length > 1) throw new UsageError("--audience: an ID token has one audience");
  return audience[0];
}

function checkNotEmpty(flag: string, ...values: (string | undefined)[]): void {
  if (values.includes("")) throw new UsageError(`${flag}: expected a string that is not empty`);
}

function withoutPolicy({ issuer, token }: Config): TokenSettings {
  return { ...token, lifetimeSeconds: issuer.expiresInSeconds };
}

function ofPolicy(name: string, { policies }: Config): TokenSettings {
  const policy = policies.find((candidate) => candidate.name === name);
  if (!policy) {
    const names = policies.map((candidate) => candidate.name);
    const meant = nearest(name, names);
    throw new UsageError(
      `--policy: no policy is named ${name}; ${meant ? `did you mean ${meant}?` : `there are ${names.join(", ")}`}`,
    );
  }
  if (policy.token === "none") throw new UsageError(`--policy: ${name} sends no token`);
  return policy.token;
}

function lifetimeOf(text: string): number {
  const seconds = parseDuration(/^\d+$/.test(text) ? Number(text) : text);
  if (seconds === undefined) throw new UsageError(`--expires-in: ${DURATION_EXPECTED}`);
  return seconds;
}

/** The claims that have an option or a setting of their own. */
const REMEDIES: Readonly<Record<string, string>> = {
  sub: "use --subject",
  aud: "use --audience",
  exp: "use --expires-in",
  iat: "it is the time of signing",
  nbf: "use --not-before",
  jti: "use --token-id",
};

/** Opens the issuer that the configuration describes, as it is on disk. */
async function withIssuer(
  { file, config, positionOf }: ParsedConfig,
  use: (opened: { issuer: Issuer; tokens: Tokens }) => string | Promise<string>,
): Promise<string> {
  const { keys: source, url: configuredUrl } = config.issuer;
  if (source.kind === "ephemeral")
    throw new KeyError(
      "issuer.keys.ephemeral",
      "the key is in the memory of the running sidecar alone; to mint, use keys that are kept somewhere",
    );
  const [first] = config.listen;
  if (configuredUrl === undefined && first.address.kind === "tcp" && first.address.port === 0) {
    const message =
      "the issuer's URL is not known before the sidecar runs; set issuer.url, or a port other than 0";
    throw new ConfigError([{ file, position: positionOf(["listen"]), key: "listen", message }]);
  }
  const now = Date.now;
  const keys = await openKeys(source, {
    needs: keyNeedsOf(config),
    env: process.env,
    now,
    onEvent: () => {},
    // Somebody sits in front of it.
    waits: false,
  });
  try {
    const url = issuerUrlOf(config);
    const tokens = createTokens({ url, keys, now });
    const issuer = issuerOver(url, keys, tokens, issuerSettingsOf(config));
    return await use({ issuer, tokens });
  } finally {
    await keys.close();
  }
}

function decode(token: string): { header: unknown; claims: unknown } {
  const [header, claims] = token
    .split(".")
    .map((part) => Buffer.from(part, "base64url").toString("utf8"))
    .slice(0, 2)
    .map((part) => JSON.parse(part) as unknown);
  return { header, claims };
}
