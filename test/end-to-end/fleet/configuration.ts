import { AUDIENCE } from "../../support/tokens.ts";

/** How a fleet is configured. In seconds of its own clock, and the least that can be: so it has the most rotations. */
export const FLEET = {
  jwksMaxAgeSeconds: 60,
  overlapSeconds: 60,
  clockSkewSeconds: 20,
  /** The overlap, a minute, and twice the skew. */
  rotateEverySeconds: 160,
} as const;

/** What is asked for a token, and where. */
export interface TokenSource {
  readonly listener: "url" | "adminUrl";
  readonly path: string;
}

/** Each has keys of its own that follow one another. Some tokens live for longer than the key that signed them signs. */
export const LINES: readonly (TokenSource & { readonly name: string })[] = [
  { name: "EdDSA", listener: "url", path: "/eddsa" },
  { name: "ES256", listener: "url", path: "/es256" },
  { name: "ES384", listener: "url", path: "/es384" },
  { name: "ES512", listener: "url", path: "/es512" },
  { name: "identity", listener: "adminUrl", path: `/identity/token?audience=${AUDIENCE}` },
];

/** Every field that a token may be asked for with. */
export const TOKEN_FIELDS = { "x-countersign-identity": "true" } as const;

/** Where the issuer's endpoints stand. */
export const BASE_PATH = "/__issuer";

/** What {@link configurationOf} needs to know. */
export interface ReplicaPlace {
  readonly issuer: string;
  readonly backend: string;
  readonly redisPort: number;
  readonly encryptionKey: string;
}

/** The `sidecar.yaml` of a replica. */
export function configurationOf({ issuer, backend, redisPort, encryptionKey }: ReplicaPlace): string {
  const { jwksMaxAgeSeconds, overlapSeconds, clockSkewSeconds, rotateEverySeconds } = FLEET;
  return JSON.stringify({
    listen: "127.0.0.1:0",
    admin: "127.0.0.1:0",
    upstream: backend,
    issuer: {
      url: issuer,
      basePath: BASE_PATH,
      jwksMaxAge: jwksMaxAgeSeconds,
      keys: {
        redis: { url: `redis://127.0.0.1:${redisPort}`, encryptionKey, clockSkew: clockSkewSeconds },
        rotateEvery: rotateEverySeconds,
        overlap: overlapSeconds,
      },
    },
    identity: { deployment: "fleet", algorithm: "EdDSA", expiresIn: "30m" },
    token: { audience: AUDIENCE },
    policies: [
      { name: "eddsa", match: { path: "/eddsa" }, token: { algorithm: "EdDSA", expiresIn: "1m" } },
      { name: "es256", match: { path: "/es256" }, token: { algorithm: "ES256", expiresIn: "5m" } },
      { name: "es384", match: { path: "/es384" }, token: { algorithm: "ES384", expiresIn: "20m" } },
      { name: "es512", match: { path: "/es512" }, token: { algorithm: "ES512", expiresIn: "2m" } },
    ],
  });
}
