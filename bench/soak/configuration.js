import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CASES, configurationFile, configurationText, serveCommand } from "../countersign.js";

/** For how long the tokens of this run are good; the keys that signed them can go soon after. */
export const TOKEN_SECONDS = 10;

/** For how long a verifier may keep the JWK Set. */
export const JWKS_SECONDS = 1;

/** The algorithms of the keys that take turns. */
export const ALGORITHMS = ["EdDSA", "ES256"];

/** The configurations of one sidecar, which follow each other. Each says in its tokens which one it is: `generation`. */
export class Configurations {
  #folder;
  #addresses;
  #oddUpstream;

  /** @param oddUpstream the backend for everything but the load */
  constructor(folder, addresses, oddUpstream) {
    this.#folder = folder;
    this.#addresses = addresses;
    this.#oddUpstream = oddUpstream;
  }

  /** @returns {string[]} the command line of a sidecar that has the first one */
  serveCommand() {
    return serveCommand(this.#folder, this.#addresses, this.#settings(0));
  }

  /**
   * Writes the first one for commands too: they would refuse the broken ones.
   *
   * @returns the folder where it is
   */
  writeForCommands() {
    const folder = join(this.#folder, "commands");
    mkdirSync(folder);
    writeFileSync(configurationFile(folder), this.#textOf(this.#settings(0)));
    return folder;
  }

  /** Puts one in the place of the one before, in one step. */
  save(generation) {
    this.#replace(this.#textOf(this.#settings(generation)));
  }

  /** Puts one that cannot be used in its place. It would be seen in tokens if it were. */
  saveBroken(number) {
    const settings = this.#settings(-1);
    const text = this.#textOf(settings);
    const broken = [
      text.slice(0, text.length / 2),
      this.#textOf({ ...settings, polices: [] }),
      this.#textOf({ ...settings, authenticate: ["nobody"] }),
    ];
    this.#replace(broken[number % broken.length]);
  }

  #textOf(settings) {
    return configurationText(this.#folder, this.#addresses, settings);
  }

  #replace(text) {
    const file = configurationFile(this.#folder);
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  }

  /** What the case with many policies has, policies for the odd clients, and each time something else. */
  #settings(generation) {
    const { policies, authenticators, ...rest } = CASES.policies;
    const { keys, ...partners } = authenticators.partners;
    const token = { expiresIn: TOKEN_SECONDS, additionalClaims: { generation } };
    const odd = { authenticate: ["anonymous"], upstream: this.#upstream(generation) };
    const newcomer = { subject: `newcomer-${generation}`, sha256: String(generation).padStart(64, "0") };
    return {
      ...rest,
      issuer: { jwksMaxAge: JWKS_SECONDS, keys: { rotateEvery: "never", overlap: JWKS_SECONDS } },
      authenticators: {
        partners: { ...partners, keys: generation < 0 ? keys : [newcomer, ...keys] },
      },
      policies: [
        { ...odd, name: "bodies", match: { path: "/bodies/:what" }, token },
        { ...odd, name: "chat", match: { path: "/chat" }, token },
        { ...odd, name: "urls", match: { path: "/urls/:number" }, token },
        {
          ...odd,
          name: "signed",
          match: { path: "/signed/:number" },
          token: { ...token, algorithm: "ES256", tokenId: true },
        },
        ...policies.map((policy) => ({
          ...policy,
          token: {
            ...policy.token,
            expiresIn: TOKEN_SECONDS,
            additionalClaims: { ...policy.token.additionalClaims, generation },
          },
        })),
      ],
    };
  }

  /** Every third configuration has another time limit, and so new connections to this backend. */
  #upstream(generation) {
    const seconds = 30 + (Math.floor(generation / 3) % 2);
    return { url: this.#oddUpstream, timeouts: { headers: seconds } };
  }
}
