import type { Config } from "../../config/config.ts";
import { reasonOf } from "../../errors.ts";
import { type IdentityFile, verifyHeld } from "../../issuer/identity-files/identity-file.ts";
import { accessFor, type FoundFile, readTokenFile } from "../../issuer/identity-files/token-file.ts";
import type { PublicJwk } from "../../issuer/keys/signing-key.ts";
import type { FileAccess } from "../../whole-file.ts";
import { type Finding, fail, ok, warn } from "./finding.ts";

/** What {@link checkIdentityFiles} needs. */
export interface IdentityFilesCheckOptions {
  /** The `iss` that verifiers expect. */
  readonly issuer: string;
  /** The JWK Set that verifiers see; `undefined`: it could not be had. */
  readonly jwks: Readonly<Record<string, unknown>> | undefined;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

const WRITER_REMEDY =
  "start the sidecar, which writes it; where one runs, its log and /readyz say why it cannot";
const REWRITE_REMEDY = "remove the file: the sidecar writes it again within half a minute";

/** Looks at each file of `identity.files` as a program that reads it does, and as whoever it gives the token to. */
export async function checkIdentityFiles(
  { identity }: Config,
  options: IdentityFilesCheckOptions,
): Promise<Finding[]> {
  return (await Promise.all((identity?.files ?? []).map((file) => checkFile(file, options)))).flat();
}

async function checkFile(file: IdentityFile, options: IdentityFilesCheckOptions): Promise<Finding[]> {
  const check = `identity file ${file.path}`;
  let found: FoundFile | undefined;
  let access: FileAccess;
  try {
    found = await readTokenFile(file.path);
    access = await accessFor(file.group);
  } catch (error) {
    return [fail(check, reasonOf(error), "mend it; and run doctor as the user that the sidecar runs as")];
  }
  if (!found) return [fail(check, "it is not there", WRITER_REMEDY)];
  return [...checkAccess(check, found, access), await checkToken(check, found.text, file, options)];
}

function checkAccess(check: string, { mode, uid, gid }: FoundFile, access: FileAccess): Finding[] {
  if (process.platform === "win32") return [];
  const problems: Finding[] = [];
  if ((mode & ~access.mode & 0o7777) !== 0)
    problems.push(fail(check, `it is open to other users (mode ${octal(mode)})`, REWRITE_REMEDY));
  else if (mode !== access.mode)
    problems.push(
      fail(check, `its mode is ${octal(mode)}, and should be ${octal(access.mode)}`, REWRITE_REMEDY),
    );
  if (access.gid !== undefined && gid !== access.gid)
    problems.push(fail(check, `its group is ${gid}, and should be ${access.gid}`, REWRITE_REMEDY));
  const self = process.geteuid?.();
  if (uid !== self)
    problems.push(
      warn(
        check,
        `it belongs to uid ${uid}, and this is uid ${self}`,
        "run doctor as the user that the sidecar runs as; where it is, somebody else writes this file",
      ),
    );
  return problems;
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}

async function checkToken(
  check: string,
  text: string,
  file: IdentityFile,
  { issuer, jwks, now }: IdentityFilesCheckOptions,
): Promise<Finding> {
  if (!jwks)
    return warn(
      check,
      "its token was not verified: there is no JWK Set to verify it with",
      "mend the issuer",
    );
  try {
    const published = (Array.isArray(jwks.keys) ? jwks.keys : []) as PublicJwk[];
    const held = await verifyHeld(text, file, { url: issuer, published, now });
    const left = `for ${file.audience}, valid until ${new Date(held.expiresAt).toISOString()}`;
    return held.isAsConfigured
      ? ok(check, `its token is verified with the public JWK Set: ${left}`)
      : warn(check, `its token, ${left}, does not say what is configured`, WRITER_REMEDY);
  } catch (error) {
    return fail(check, `its token is refused: ${reasonOf(error)}`, WRITER_REMEDY);
  }
}
