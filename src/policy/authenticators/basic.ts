import { createHmac, randomBytes } from "node:crypto";
import { openWatchedFile } from "../../watched-files.ts";
import { type Authenticator, invalid, type Outcome, REALM, type Surroundings } from "./authenticator.ts";
import { type BasicCredentials, normalized, readBasicCredentials } from "./basic-credentials.ts";
import { type CredentialSource, findCredential, placeOf } from "./credential-source.ts";
import { type HtpasswdEntry, readHtpasswd } from "./htpasswd.ts";
import type { BasicOptions, BasicUser } from "./options.ts";
import {
  createPasswordChecks,
  type PasswordCheck,
  type PasswordHolder,
  type PasswordVerifier,
} from "./password-checks.ts";
import { decoyLike, readPasswordHash, verifyPassword } from "./password-hash.ts";

/** A user, ready for passwords to be compared. */
interface KnownUser extends PasswordHolder {
  readonly passwordHash: string;
  /** What is answered where the password is right. */
  readonly outcome: Outcome;
  /** What a stranger's password is compared with, at the cost of this user's. */
  readonly decoy: PasswordHolder;
}

/** By name, in Normalization Form C. */
type KnownUsers = ReadonlyMap<string, KnownUser>;

const SOURCE: CredentialSource = { kind: "header", name: "authorization", scheme: "Basic" };

// Who asks does not learn which names there are.
const REFUSED = invalid("the user name or the password is wrong");
const DISABLED = invalid("the user is disabled");
const BUSY: Outcome = {
  kind: "unavailable",
  reason: "too many passwords are being checked",
  cause: "the queue of passwords to be checked is full",
};

/**
 * Opens an authenticator that knows callers by user name and password.
 *
 * @param verify compares a password with a hash
 * @throws {Error} when the htpasswd file cannot be read or used, or a hash is none
 * @see RFC 7617
 */
export async function openBasic(
  name: string,
  options: BasicOptions,
  { now, onEvent }: Surroundings,
  verify: PasswordVerifier = verifyPassword,
): Promise<Authenticator> {
  const { users, htpasswd, forwardCredential } = options;
  const inline = knownUsersOf(users);
  const file =
    htpasswd === undefined
      ? undefined
      : await openWatchedFile({
          path: htpasswd,
          parse: usersReader(inline, htpasswd),
          onEvent: (event) => onEvent({ authenticator: name, ...event }),
        });
  const checks = createPasswordChecks(now, verify);
  const decoyFor = decoyChooser();

  function check(credentials: BasicCredentials): Outcome | Promise<Outcome> {
    const known = file?.current() ?? inline;
    const user = known.get(credentials.username);
    const holder = user ?? decoyFor(credentials.username, known);
    if (!holder) return REFUSED;
    const result = checks.check(credentials, holder);
    return result instanceof Promise
      ? result.then((checked) => outcomeOf(checked, user))
      : outcomeOf(result, user);
  }

  return {
    name,
    type: "basic",
    place: placeOf(SOURCE),
    forwardCredential,
    authenticate(request) {
      const found = findCredential(request, SOURCE);
      if (found.kind !== "found") return found;
      const credentials = readBasicCredentials(found.credential);
      return "reason" in credentials ? invalid(credentials.reason) : check(credentials);
    },
    checkSecret: (clientId, clientSecret) =>
      check({ username: normalized(clientId), password: normalized(clientSecret) }),
    challenge: () => `Basic realm="${REALM}", charset="UTF-8"`,
    close: () => file?.close(),
  };
}

function outcomeOf(result: PasswordCheck, user: KnownUser | undefined): Outcome {
  if (result.kind === "busy") return BUSY;
  if (result.kind === "failed")
    return { kind: "unavailable", reason: "the password cannot be checked now", cause: result.cause };
  return result.kind === "right" && user ? user.outcome : REFUSED;
}

/**
 * Makes the function that chooses what a stranger's password is compared with. The same name always costs the same, and
 * names cost what those of the users do: where the costs differ, they do not tell who is known.
 */
function decoyChooser(): (username: string, known: KnownUsers) => PasswordHolder | undefined {
  const secret = randomBytes(32);
  let last: KnownUsers | undefined;
  let decoys: readonly PasswordHolder[] = [];
  return (username, known) => {
    if (last !== known) {
      last = known;
      decoys = [...known.values()].map(({ decoy }) => decoy);
    }
    const place = createHmac("sha256", secret).update(username).digest().readUInt32BE();
    return decoys[place % decoys.length];
  };
}

function knownUsersOf(users: readonly BasicUser[]): Map<string, KnownUser> {
  return new Map(users.map((user) => [normalized(user.username), knownUserOf(user)]));
}

function knownUserOf({ username, passwordHash, claims, disabled }: BasicUser): KnownUser {
  const reading = readPasswordHash(passwordHash);
  if ("expected" in reading)
    throw new Error(`the password hash of ${JSON.stringify(username)}: ${reading.expected}`);
  const hash = reading.value;
  const outcome: Outcome = disabled ? DISABLED : { kind: "user", user: { sub: username, claims } };
  return { passwordHash, hash, outcome, decoy: { hash: decoyLike(hash) } };
}

/**
 * Makes the function that reads the file of users, which `inline` go before. A user whose line is as it was stays the same
 * object, so that a change of one line does not make every client's password be checked anew at once.
 */
function usersReader(inline: KnownUsers, path: string): (text: string) => KnownUsers {
  let before: KnownUsers = new Map();
  return (text) => {
    const users = new Map(inline);
    for (const entry of readHtpasswd(text, path)) {
      const username = normalized(entry.username);
      if (inline.has(username))
        throw new Error(`${path}:${entry.line}: this user also stands under users; keep one`);
      const same = before.get(username);
      users.set(username, same?.passwordHash === entry.passwordHash ? same : userOfFile(entry));
    }
    before = users;
    return users;
  };
}

function userOfFile({ username, passwordHash }: HtpasswdEntry): KnownUser {
  return knownUserOf({ username, passwordHash, claims: {}, disabled: false });
}
