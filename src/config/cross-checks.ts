import { sep } from "node:path";
import { canonicalFieldName } from "../gateway/field-names.ts";
import { formatAddress } from "../gateway/listen/listen-options.ts";
import { clientCertificateProblem } from "./authenticators/client-certificate.ts";
import { ANONYMOUS } from "./authenticators/sections.ts";
import type { Config } from "./config.ts";
import type { KeyPath } from "./document.ts";
import { nearest } from "./problems.ts";
import { listOf, mapOf } from "./unchecked.ts";

/** Something wrong that no single value shows. */
export interface CrossProblem {
  readonly path: KeyPath;
  readonly message: string;
}

/**
 * What is wrong between the parts of a file: names that lead nowhere, and policies that do not say who may call.
 *
 * @param file as it was read, and so of any shape: what is wrong with one value must not hide what is wrong between two
 */
export function crossProblemsOf(file: unknown): CrossProblem[] {
  const { authenticators, authenticate, policies, token } = mapOf(file);
  const names = Object.keys(mapOf(authenticators));
  const problems = [
    ...unknownNames(authenticate, ["authenticate"], names),
    ...twoActors({}, mapOf(token), ["token"]),
  ];
  const isSaidAbove = authenticate !== undefined;
  if (names.length > 0 && !isSaidAbove && policies === undefined)
    problems.push({
      path: ["authenticators"],
      message: `nothing asks them; add the key authenticate: [${names.join(", ")}]`,
    });
  for (const [index, entry] of listOf(policies).entries()) {
    const policy = mapOf(entry);
    const path = ["policies", index];
    problems.push(...unknownNames(policy.authenticate, [...path, "authenticate"], names));
    if (names.length > 0 && !isSaidAbove && policy.authenticate === undefined)
      problems.push({
        path,
        message: `is there for whom? add the key authenticate with some of ${[...names, ANONYMOUS].join(", ")}, here or at the top`,
      });
    problems.push(...twoActors(mapOf(token), mapOf(policy.token), [...path, "token"]));
    const asked = listOf(policy.authenticate ?? authenticate ?? [ANONYMOUS]);
    if (policy.require !== undefined && asked.every((name) => name === ANONYMOUS))
      problems.push({
        path: [...path, "require"],
        message: "no caller can meet this: the policy asks no authenticator who is calling",
      });
  }
  return problems;
}

/** What is wrong where the claim `act` of a policy's token, or of all, is said twice. */
function twoActors(
  above: Readonly<Record<string, unknown>>,
  own: Readonly<Record<string, unknown>>,
  path: KeyPath,
): CrossProblem[] {
  const ownClaims = mapOf(own.additionalClaims);
  const saysClaim = Object.hasOwn(ownClaims, "act");
  // What is wrong at the top alone is told of there.
  if (own.actor === undefined && !saysClaim) return [];
  const actor = own.actor ?? above.actor ?? false;
  const claim = saysClaim ? ownClaims.act : (mapOf(above.additionalClaims).act ?? null);
  // An actor of the top would stay, whatever `act: null` was meant to do.
  const takesActorOut = saysClaim && own.actor === undefined;
  if (actor === false || (claim === null && !takesActorOut)) return [];
  const message =
    claim === null
      ? "the claim act is what actor at the top of the file makes of it; switch it off with `actor: false` here"
      : "the claim act is said twice, by actor and by additionalClaims; keep one: `actor: false` or `act: null` switches off what the top of the file says";
  return [{ path: saysClaim ? [...path, "additionalClaims", "act"] : [...path, "actor"], message }];
}

/**
 * What is wrong between parts of a configuration that are right in themselves.
 *
 * @param file where it stands, absolute
 */
export function lateProblemsOf(config: Config, file: string): CrossProblem[] {
  return [
    ...aboutListeners(config),
    ...aboutWorkers(config),
    ...aboutIdentityFiles(config, file),
    ...aboutAuthenticators(config),
  ];
}

function aboutListeners({ listen, admin, issuer }: Config): CrossProblem[] {
  const problems: CrossProblem[] = [];
  if (issuer.url === undefined && listen[0].address.kind !== "tcp")
    problems.push({
      path: ["issuer"],
      message: "needs the key url: the first listener has no URL at which backends could find the keys",
    });
  const seen = new Set<string>();
  const all = listen.map(({ address }, index) => ({ address, path: ["listen", index] as KeyPath }));
  for (const { address, path } of admin ? [...all, { address: admin.address, path: ["admin"] }] : all) {
    const isAnyPort = address.kind === "tcp" && address.port === 0;
    const name = formatAddress(address);
    if (seen.has(name) && !isAnyPort)
      problems.push({
        path,
        message: `another listener has this address${path[0] === "admin" ? `, ${name}; choose another, or false for none` : ""}`,
      });
    seen.add(name);
  }
  return problems;
}

function aboutWorkers({ workers, issuer }: Config): CrossProblem[] {
  if (workers === 1 || issuer.keys.kind !== "ephemeral") return [];
  const message = "cannot be used with issuer.keys.ephemeral: each process would have a key of its own";
  return [{ path: ["workers"], message }];
}

function aboutIdentityFiles(config: Config, file: string): CrossProblem[] {
  const files = config.identity?.files ?? [];
  if (files.length === 0) return [];
  const { keys } = config.issuer;
  const keyDirectory = keys.kind === "directory" ? keys.directory : undefined;
  const named = new Set([file, ...textsNamingFilesIn(config)]);
  const seen = new Set<string>();
  return files.flatMap(({ path }, index): CrossProblem[] => {
    const problem = (message: string) => [{ path: ["identity", "files", index, "path"], message }];
    if (seen.has(path)) return problem("another file of the list has this path; each needs one of its own");
    seen.add(path);
    if (keyDirectory !== undefined && (path === keyDirectory || path.startsWith(keyDirectory + sep)))
      return problem(`the key directory ${keyDirectory} is for keys alone; choose another path`);
    if (named.has(path))
      return problem(`a token would take the place of ${path}, which the sidecar reads; choose another path`);
    return [];
  });
}

/** Every text where the configuration names files; what of it is none is no absolute path either, or in nobody's way. */
function textsNamingFilesIn({ issuer, listen, admin, upstream, authenticators, policies }: Config): string[] {
  const places: unknown[] = [issuer.keys, listen, admin, upstream, authenticators];
  for (const policy of policies) places.push(policy.upstream, policy.module);
  const texts: string[] = [];
  for (const value of places)
    if (typeof value === "string") texts.push(value);
    else if (typeof value === "object" && value !== null) places.push(...Object.values(value));
  return texts;
}

function aboutAuthenticators({ authenticators, policies, listen }: Config): CrossProblem[] {
  const tokenFields = new Set(
    policies.flatMap(({ token }) => (token === "none" ? [] : [canonicalFieldName(token.headerName)])),
  );
  return Object.entries(authenticators).flatMap(([name, options]): CrossProblem[] => {
    const path = ["authenticators", name];
    // A field that a token goes into cannot hold another one.
    if (options.type === "jwt" && tokenFields.has(canonicalFieldName(options.originalTokenHeader ?? "")))
      return [
        {
          path: [...path, "originalTokenHeader"],
          message: "a policy puts its own token into this field; choose another",
        },
      ];
    const message = options.type === "clientCertificate" && clientCertificateProblem(options, listen);
    return message ? [{ path, message }] : [];
  });
}

function unknownNames(list: unknown, path: KeyPath, names: readonly string[]): CrossProblem[] {
  const known = [...names, ANONYMOUS];
  const seen = new Set<unknown>();
  return listOf(list).flatMap((name, index): CrossProblem[] => {
    if (typeof name !== "string") return [];
    if (seen.has(name)) return [{ path: [...path, index], message: "stands here twice; keep one" }];
    seen.add(name);
    if (known.includes(name)) return [];
    const meant = nearest(name, known);
    const hint = meant ? `did you mean ${meant}?` : `there are ${known.join(", ")}`;
    return [{ path: [...path, index], message: `no authenticator has this name; ${hint}` }];
  });
}
