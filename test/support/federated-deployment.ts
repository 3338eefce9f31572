import { createPublicKey } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { decodeJwt, generateKeyPair, SignJWT, UnsecuredJWT } from "jose";
import { vi } from "vitest";
import { fixedKeys } from "../../src/cli/rehearsal-keys.ts";
import { keyNeedsOf } from "../../src/config/key-needs.ts";
import type { TokenRequest } from "../../src/issuer/claims-set.ts";
import { type IdentityFile, requestFor } from "../../src/issuer/identity-files/identity-file.ts";
import { readKeys } from "../../src/issuer/keys/key-source.ts";
import { createTokens } from "../../src/issuer/tokens.ts";
import { temporaryFolder } from "./command-line.ts";
import type { FederatedTrust } from "./federated-trust.ts";
import { kidOf, passTime, startRotatingSidecar, startRotation, withdrawKey } from "./rotation.ts";
import type { TestSidecar } from "./sidecar.ts";

/** A sidecar that knows which deployment it stands in, keeps a file for a cloud, and whose clock a test moves. */
export interface FederatedDeployment extends AsyncDisposable {
  readonly sidecar: TestSidecar;
  /** What the cloud is told to trust. */
  readonly trust: FederatedTrust;
  /** The file that the sidecar keeps. */
  readonly tokenFile: string;
  token(): string;
  /** Writes another token into a file of its own, and gives its path. */
  fileWith(token: string): string;
  /** Has the key rotated, until the file holds a token of the next one; gives the last that it held of the old one. */
  rotate(): Promise<string>;
  /** Withdraws the key, until the file holds a token of the next one. */
  withdraw(): Promise<void>;
  /** A token that is to be refused. */
  badToken(kind: BadToken): Promise<string>;
}

/** Ways in which a token is not what a cloud trusts, each with the reason for which it is refused. */
const BAD_TOKENS = {
  "for another audience": /unexpected .aud. claim/,
  "without an audience": /missing required .aud. claim/,
  "of another subject": /unexpected .sub. claim/,
  "of another issuer": /unexpected .iss. claim/,
  "that has expired": /.exp. claim timestamp/,
  "that another key has signed": /signature verification failed/,
  "that nobody has signed": /.alg. .*not allowed/,
  "that the public key has signed as a secret": /.alg. .*not allowed/,
  "whose claims were changed": /signature verification failed/,
} as const;
type BadToken = keyof typeof BAD_TOKENS;

/** For `test.each`: what is wrong with a token, and why it is refused. */
export const BAD_TOKEN_ROWS = Object.entries(BAD_TOKENS) as [BadToken, RegExp][];

interface SignedChanges extends Partial<TokenRequest> {
  readonly url?: string;
  readonly secondsAgo?: number;
}

const SUBJECT = "acme/shop/blue";
const LIFETIME_SECONDS = 3600;

/** Starts a sidecar that keeps a file for this audience. */
export async function startFederatedDeployment(audience: string): Promise<FederatedDeployment> {
  const folder = temporaryFolder();
  const tokenFile = join(folder.path, "token");
  const sidecar = await startRotatingSidecar("http://127.0.0.1:9", {
    yaml: `
admin: 127.0.0.1:0
identity:
  account: acme
  project: shop
  deployment: blue
  environment_type: production
  files: [{path: ${JSON.stringify(tokenFile)}, audience: ${JSON.stringify(audience)}, expiresIn: ${LIFETIME_SECONDS}}]`,
  });
  const { issuer } = sidecar;
  const trust = { issuer: issuer.url, subject: SUBJECT, audience };
  const token = () => readFileSync(tokenFile, "utf8");

  /** Lets time pass or keys change, and waits until that has come to the file. */
  async function untilReplaced(change: () => unknown): Promise<void> {
    const before = token();
    await change();
    await vi.waitFor(
      () => {
        if (token() === before) throw new Error("the file still holds the same token");
      },
      { timeout: 10_000, interval: 20 },
    );
  }

  /** A token of the very key that signs those of the file. */
  async function signed({ url = issuer.url, secondsAgo = 0, ...changes }: SignedChanges): Promise<string> {
    const { config } = sidecar;
    const { set } = await readKeys(config.issuer.keys, { needs: keyNeedsOf(config), env: {}, now: Date.now });
    const now = () => Date.now() - secondsAgo * 1000;
    const [file] = config.identity?.files ?? [];
    return createTokens({ url, keys: fixedKeys([set]), now }).tokenFor({
      ...requestFor(file as IdentityFile),
      ...changes,
    });
  }

  async function badToken(kind: BadToken): Promise<string> {
    const good = token();
    const header = { alg: "RS256", kid: String(kidOf(good)), typ: "JWT" };
    const claims = decodeJwt(good);
    switch (kind) {
      case "for another audience":
        return signed({ audience: "https://elsewhere.example" });
      case "without an audience":
        return signed({ audience: undefined });
      case "of another subject":
        return signed({ subject: "acme/shop/green" });
      case "of another issuer":
        return signed({ url: "http://127.0.0.1:9/__issuer" });
      case "that has expired":
        return signed({ secondsAgo: LIFETIME_SECONDS });
      case "that another key has signed":
        return new SignJWT(claims)
          .setProtectedHeader(header)
          .sign((await generateKeyPair("RS256")).privateKey);
      case "that nobody has signed":
        return new UnsecuredJWT(claims).encode();
      case "that the public key has signed as a secret": {
        const jwk = issuer.jwks().keys.find(({ kid }) => kid === header.kid);
        const pem = createPublicKey({ key: { ...jwk }, format: "jwk" }).export({
          format: "pem",
          type: "spki",
        });
        return new SignJWT(claims).setProtectedHeader({ ...header, alg: "HS256" }).sign(Buffer.from(pem));
      }
      case "whose claims were changed": {
        const [before, , signature] = good.split(".");
        const payload = Buffer.from(JSON.stringify({ ...claims, account: "other" })).toString("base64url");
        return `${before}.${payload}.${signature}`;
      }
    }
  }

  return {
    ...{ sidecar, trust, tokenFile, token, badToken },
    fileWith(other) {
      const path = join(folder.path, "other");
      writeFileSync(path, other);
      return path;
    },
    async rotate() {
      const { pendingSeconds } = await startRotation(sidecar, "identity");
      await untilReplaced(() => passTime(pendingSeconds - 1));
      const last = token();
      await untilReplaced(() => passTime(1));
      return last;
    },
    withdraw: () => untilReplaced(() => withdrawKey(sidecar, "identity")),
    async [Symbol.asyncDispose]() {
      await sidecar[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}
