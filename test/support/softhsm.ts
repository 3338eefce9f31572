import { execFileSync } from "node:child_process";
import type { KeyObject } from "node:crypto";
import { randomInt } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SigningAlgorithm } from "../../src/issuer/algorithms.ts";
import type { KeySource } from "../../src/issuer/keys/key-source.ts";
import { connect } from "../../src/issuer/keys/pkcs11/token-keys.ts";
import { temporaryFolder } from "./command-line.ts";
import type { Program } from "./programs.ts";
import { noteSecret } from "./secrets.ts";

export const SOFTHSM_LIBRARY = "/usr/lib/softhsm/libsofthsm2.so";

/** The token of Debian's package, and the package of npm that speaks to it. */
export const SOFTHSM: Program = {
  probe: ["sh", "-c", `softhsm2-util --version && test -e ${SOFTHSM_LIBRARY}`],
  note: "softhsm2-util is needed: apt-get install softhsm2",
};

export const PKCS11JS: Program = {
  probe: [process.execPath, "-e", 'require("pkcs11js")'],
  note: "pkcs11js is needed: npm install, with a C++ compiler, make and Python",
};

type Pkcs11Source = Extract<KeySource, { kind: "pkcs11" }>;

/** A token of SoftHSM in a folder of its own. */
export interface SoftToken extends Disposable {
  readonly label: string;
  readonly pin: string;
  /** Where its objects are. */
  readonly tokens: string;
  /** The variables that lead there. */
  readonly env: Readonly<Record<string, string>>;
  /** `issuer` in YAML with these labels; further keys of it in front. The PIN is in $HSM_PIN. */
  yaml(labels: readonly string[], more?: string): string;
  source(labels: readonly string[], changes?: Partial<Pkcs11Source>): Pkcs11Source;
  /** Makes keys on it. */
  generate(keys: Readonly<Record<string, SigningAlgorithm>>): Promise<void>;
  /** Puts a key on it that was made elsewhere. */
  import(label: string, id: string, key: KeyObject): void;
  /** Makes it empty. */
  initialise(): void;
  /** Runs code with `p` (pkcs11js), `m` (a library that is initialised) and `s`, a session that may write. */
  run(code: string): void;
}

/** Makes a token, which the libraries in the processes that this one starts find from here on. */
export function createSoftToken(label = "countersign"): SoftToken {
  const folder = temporaryFolder();
  const tokens = join(folder.path, "tokens");
  const configuration = join(folder.path, "softhsm2.conf");
  const pin = noteSecret(`pin-${randomInt(1e9)}-${randomInt(1e9)}`);
  mkdirSync(tokens);
  writeFileSync(
    configuration,
    `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`,
  );
  const before = process.env.SOFTHSM2_CONF;
  process.env.SOFTHSM2_CONF = configuration;
  const util = (...arguments_: readonly string[]) => {
    execFileSync("softhsm2-util", arguments_, {
      stdio: "pipe",
      env: { ...process.env, SOFTHSM2_CONF: configuration },
    });
  };
  const pins = ["--so-pin", "0123456789", "--pin", pin];
  util("--init-token", "--free", "--label", label, ...pins);
  const source: SoftToken["source"] = (labels, changes = {}) => ({
    kind: "pkcs11",
    library: SOFTHSM_LIBRARY,
    place: { kind: "label", label },
    pin: { kind: "text", text: pin },
    listed: { labels, jwksMaxAgeSeconds: 300 },
    ...changes,
  });
  return {
    ...{ label, pin, tokens, source },
    env: { SOFTHSM2_CONF: configuration, HSM_PIN: pin },
    yaml: (labels, more = "") =>
      `issuer:\n  ${more === "" ? "" : `${more}\n  `}keys: {pkcs11: {library: ${SOFTHSM_LIBRARY}, token: ${label}, pin: $env(HSM_PIN), keys: [${labels.join(", ")}]}}\n`,
    async generate(keys) {
      const connection = connect(source([]));
      for (const [name, algorithm] of Object.entries(keys)) await connection.generate(name, algorithm);
      await connection.close();
    },
    import(name, id, key) {
      const file = join(folder.path, `${name}.pem`);
      writeFileSync(file, key.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
      util("--import", file, "--token", label, "--label", name, "--id", id, "--pin", pin);
    },
    run(code) {
      const program = `const p = require("pkcs11js"); const m = new p.PKCS11();
        m.load(${JSON.stringify(SOFTHSM_LIBRARY)}); m.C_Initialize();
        const s = m.C_OpenSession(m.C_GetSlotList(true)[0], p.CKF_SERIAL_SESSION | p.CKF_RW_SESSION);
        m.C_Login(s, p.CKU_USER, ${JSON.stringify(pin)});
        ${code}`;
      execFileSync(process.execPath, ["-e", program], {
        stdio: "pipe",
        env: { ...process.env, SOFTHSM2_CONF: configuration },
      });
    },
    initialise() {
      util("--init-token", "--token", label, "--label", label, ...pins);
    },
    [Symbol.dispose]() {
      process.env.SOFTHSM2_CONF = before;
      if (before === undefined) delete process.env.SOFTHSM2_CONF;
      folder[Symbol.dispose]();
    },
  };
}

/** The processes that hold a library for this one. */
export function libraryProcesses(): number[] {
  return readdirSync(`/proc/${process.pid}/task`)
    .flatMap((thread) => readFileSync(`/proc/${process.pid}/task/${thread}/children`, "utf8").split(" "))
    .filter((pid) => pid.trim() !== "")
    .map(Number)
    .filter((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("pkcs11-process"));
}
