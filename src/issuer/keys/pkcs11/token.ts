import { createHash, randomBytes } from "node:crypto";
import { type Cryptoki, type Handle, loadCryptoki } from "./cryptoki.ts";
import { generationOf, signingOf } from "./mechanisms.ts";
import { ATTRIBUTE, numberOf, OBJECT_CLASS, publicJwkOf } from "./objects.ts";
import { failureOf, returnValueOf, TokenFailure } from "./token-failure.ts";
import type { TokenAccess, TokenKey, TokenOrder, TokenPlace } from "./token-messages.ts";

/** A token that somebody is logged in to. */
export interface Token {
  /** The key pairs with these labels that there are. */
  find(labels: readonly string[]): readonly TokenKey[];
  /** The labels of all private keys. */
  list(): readonly string[];
  /** Signs in a thread of its own. */
  sign(order: Extract<TokenOrder, { kind: "sign" }>): Promise<Buffer>;
  /** Makes a key pair. */
  generate(order: Extract<TokenOrder, { kind: "generate" }>): void;
  /** Ends the sessions. */
  close(): void;
}

const CKF_OS_LOCKING_OK = 2;
const CKF_SERIAL_SESSION = 4;
const CKF_RW_SESSION = 2;
const CKF_LOGIN_REQUIRED = 0x4;
const CKF_USER_PIN_FINAL_TRY = 0x20000;
const CKF_USER_PIN_LOCKED = 0x40000;
const CKU_USER = 1;
/** An RSA key of 8192 bits. */
const MAX_SIGNATURE_BYTES = 1024;
const MAX_FOUND = 1000;
const ID_BYTES = 16;

/**
 * Loads the library, logs in to the token, and leaves it so.
 *
 * @throws {TokenFailure} with what is wrong. No PIN is tried twice.
 */
export async function openToken({ library, place, pin }: TokenAccess): Promise<Token> {
  const cryptoki = await loadCryptoki();
  try {
    cryptoki.load(library);
  } catch (error) {
    throw new TokenFailure("lost", `the library ${library} cannot be loaded: ${reasonOfLoading(error)}`);
  }
  attempt("the start of the library", () => cryptoki.C_Initialize({ flags: CKF_OS_LOCKING_OK }));
  const slot = slotOf(cryptoki, place);
  const { flags } = attempt("reading the token", () => cryptoki.C_GetTokenInfo(slot));
  const session = attempt("opening a session", () => cryptoki.C_OpenSession(slot, CKF_SERIAL_SESSION));
  if ((flags & CKF_LOGIN_REQUIRED) !== 0) login(cryptoki, session, pin, flags);
  return tokenOver(cryptoki, slot, session);
}

/** What the dynamic linker says: names of files and symbols. */
function reasonOfLoading(error: unknown): string {
  return error instanceof Error ? (error.message.split("\n", 1)[0] ?? "") : "no reason is known";
}

function attempt<T>(doing: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw failureOf(error, doing);
  }
}

function slotOf(cryptoki: Cryptoki, place: TokenPlace): Handle {
  const slots = attempt("listing the slots", () => cryptoki.C_GetSlotList(true));
  if (place.kind === "slot") {
    const slot = slots.find((handle) => numberOf(handle) === place.slot);
    if (slot) return slot;
    const numbers = slots.map((handle) => numberOf(handle)).join(", ");
    throw new TokenFailure(
      "lost",
      `there is no token in slot ${place.slot}; ${slots.length === 0 ? "no slot has one" : `slots with one: ${numbers}`}`,
    );
  }
  const labels = slots.map((handle) =>
    attempt("reading the token", () => cryptoki.C_GetTokenInfo(handle).label.trimEnd()),
  );
  const found = slots.filter((_, index) => labels[index] === place.label);
  if (found.length === 1 && found[0]) return found[0];
  if (found.length > 1)
    throw new TokenFailure("refused", `${found.length} tokens have the label ${place.label}; name a slot`);
  const known = labels.filter((label) => label !== "");
  throw new TokenFailure(
    "lost",
    `there is no token with the label ${place.label}; ${known.length === 0 ? "the library shows none" : `there is ${known.join(", ")}`}`,
  );
}

/**
 * Logs in, unless the token says that a wrong PIN would be one too many.
 *
 * @param flags of the token
 * @throws {TokenFailure} with what is wrong
 */
export function login(
  cryptoki: Pick<Cryptoki, "C_Login">,
  session: Handle,
  pin: string,
  flags: number,
): void {
  const obstacle = loginObstacleOf(flags);
  if (obstacle !== undefined) throw new TokenFailure("pin", obstacle);
  try {
    cryptoki.C_Login(session, CKU_USER, pin);
  } catch (error) {
    if (returnValueOf(error) !== "CKR_USER_ALREADY_LOGGED_IN") throw failureOf(error, "the login");
  }
}

/** Why no PIN should be tried, by the flags of the token; `undefined` where one may be. */
function loginObstacleOf(flags: number): string | undefined {
  if ((flags & CKF_USER_PIN_LOCKED) !== 0)
    return "the PIN is locked after too many wrong ones; the security officer of the token unlocks it";
  if ((flags & CKF_USER_PIN_FINAL_TRY) !== 0)
    return "one more wrong PIN locks the token, so none is tried: log in once with a tool of the token's own, such as pkcs11-tool --login --test, and start again";
  return undefined;
}

function tokenOver(cryptoki: Cryptoki, slot: Handle, session: Handle): Token {
  const privateKeys = new Map<string, Handle>();
  const sessions = createSessions(() => cryptoki.C_OpenSession(slot, CKF_SERIAL_SESSION));

  function objectsWith(template: Parameters<Cryptoki["C_FindObjectsInit"]>[1]): Handle[] {
    cryptoki.C_FindObjectsInit(session, template);
    try {
      return cryptoki.C_FindObjects(session, MAX_FOUND);
    } finally {
      cryptoki.C_FindObjectsFinal(session);
    }
  }

  function readerOf(object: Handle) {
    return (type: number): Buffer | undefined => {
      try {
        return cryptoki.C_GetAttributeValue(session, object, [{ type }])[0]?.value;
      } catch (error) {
        // An attribute that the object has not, or does not show.
        if (/^CKR_ATTRIBUTE_(TYPE_INVALID|SENSITIVE)$/.test(returnValueOf(error) ?? "")) return undefined;
        throw error;
      }
    };
  }

  function privateKeyOf(label: string): Handle | undefined {
    const found = objectsWith([
      { type: ATTRIBUTE.class, value: OBJECT_CLASS.privateKey },
      { type: ATTRIBUTE.label, value: label },
    ]);
    if (found.length > 1)
      throw new TokenFailure(
        "refused",
        `${found.length} private keys have the label ${label}; give each one of its own`,
      );
    return found[0];
  }

  /** That of the public key object with the same id, or else with the same label, or what the private key shows of it. */
  function publicKeyOf(label: string, privateKey: Handle) {
    const id = readerOf(privateKey)(ATTRIBUTE.id);
    const isPublic = { type: ATTRIBUTE.class, value: OBJECT_CLASS.publicKey };
    const candidates = [
      ...(id?.length ? objectsWith([isPublic, { type: ATTRIBUTE.id, value: id }]) : []),
      ...objectsWith([isPublic, { type: ATTRIBUTE.label, value: label }]),
      privateKey,
    ];
    for (const candidate of candidates) {
      const jwk = publicJwkOf(readerOf(candidate));
      if (jwk) return jwk;
    }
    throw new TokenFailure(
      "refused",
      `key ${label} has no public key that can be read; expected an object with the same CKA_ID or label, and Ed25519, RSA, P-256, P-384 or P-521`,
    );
  }

  function keyOf(label: string): { readonly key: TokenKey; readonly handle: Handle } | undefined {
    const handle = privateKeyOf(label);
    if (!handle) return undefined;
    const read = readerOf(handle);
    if (isTrue(read(ATTRIBUTE.alwaysAuthenticate)))
      throw new TokenFailure(
        "refused",
        `key ${label} asks for the PIN at every signature (CKA_ALWAYS_AUTHENTICATE), which a proxy cannot give`,
      );
    const jwk = publicKeyOf(label, handle);
    const fingerprint = createHash("sha256").update(JSON.stringify(jwk)).digest("base64url");
    const doubts = [
      ...(isTrue(read(ATTRIBUTE.extractable)) ? ["it can be taken out of the token (CKA_EXTRACTABLE)"] : []),
      ...(isFalse(read(ATTRIBUTE.sensitive)) ? ["the token shows it in clear (CKA_SENSITIVE is false)"] : []),
    ];
    return { key: { label, jwk, fingerprint, doubts }, handle };
  }

  function signingHandleOf(label: string, fingerprint: string): Handle {
    const name = `${label} ${fingerprint}`;
    const known = privateKeys.get(name);
    if (known) return known;
    const found = keyOf(label);
    if (!found) throw new TokenFailure("refused", `there is no private key ${label} any more`);
    if (found.key.fingerprint !== fingerprint)
      throw new TokenFailure(
        "refused",
        `the key ${label} is another one than when the configuration was read`,
      );
    privateKeys.set(name, found.handle);
    return found.handle;
  }

  return {
    find: (labels) =>
      attempt("looking for the keys", () => labels.flatMap((label) => keyOf(label)?.key ?? [])),
    list: () =>
      attempt("listing the keys", () =>
        objectsWith([{ type: ATTRIBUTE.class, value: OBJECT_CLASS.privateKey }]).map(
          (object) => readerOf(object)(ATTRIBUTE.label)?.toString() ?? "",
        ),
      ),
    async sign({ label, fingerprint, algorithm, input }) {
      try {
        const key = signingHandleOf(label, fingerprint);
        const { mechanism, data } = signingOf(algorithm, Buffer.from(input));
        return await sessions.use(async (own) => {
          cryptoki.C_SignInit(own, mechanism, key);
          return cryptoki.C_SignAsync(own, data, Buffer.alloc(MAX_SIGNATURE_BYTES));
        });
      } catch (error) {
        throw failureOf(error, `signing with ${algorithm} and key ${label}`);
      }
    },
    generate({ label, algorithm }) {
      attempt(`making an ${algorithm} key`, () => {
        const { mechanism, publicTemplate, privateTemplate } = generationOf(
          algorithm,
          label,
          randomBytes(ID_BYTES),
        );
        const writing = cryptoki.C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION);
        try {
          cryptoki.C_GenerateKeyPair(writing, mechanism, publicTemplate, privateTemplate);
        } finally {
          cryptoki.C_CloseSession(writing);
        }
      });
    },
    close: () => cryptoki.C_Finalize(),
  };
}

function isTrue(value: Buffer | undefined): boolean {
  return value?.[0] === 1;
}

function isFalse(value: Buffer | undefined): boolean {
  return value?.[0] === 0;
}

/**
 * Sessions that sign one thing at a time each: opened when they are needed first, and kept.
 *
 * @param open throws where the token has no more
 */
function createSessions(open: () => Handle) {
  const free: Handle[] = [];
  const waiting: ((session: Handle) => void)[] = [];
  let opened = 0;

  async function take(): Promise<Handle> {
    const session = free.pop();
    if (session) return session;
    try {
      const another = open();
      opened++;
      return another;
    } catch (error) {
      if (opened === 0 || returnValueOf(error) !== "CKR_SESSION_COUNT") throw error;
      return new Promise((resolve) => waiting.push(resolve));
    }
  }

  return {
    async use<T>(act: (session: Handle) => Promise<T>): Promise<T> {
      const session = await take();
      try {
        return await act(session);
      } finally {
        const next = waiting.shift();
        if (next) next(session);
        else free.push(session);
      }
    },
  };
}
