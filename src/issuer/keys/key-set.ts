import type { SourceHealth } from "../../refresh.ts";
import type { SigningAlgorithm } from "../algorithms.ts";
import type { SharedRingStatus } from "./reliance.ts";
import type { KeyNeed, KeyPurpose, KeyState, Rotation } from "./ring.ts";
import type { PublicJwk, SigningKey } from "./signing-key.ts";

/** A key that signs now. */
export interface ActiveKey {
  readonly key: SigningKey;
  /** The lifetime of the longest token that the key is kept for, in seconds. */
  readonly longestLifetimeSeconds: number;
}

/** The keys of an issuer at one moment. It never changes; where the keys do, another one takes its place. */
export interface KeySet {
  /** What the JWK Set shows, the keys that sign first. */
  readonly published: readonly PublicJwk[];
  /** The key that signs tokens of this purpose with this algorithm; `undefined` where there is none. */
  activeKey(purpose: KeyPurpose, algorithm: SigningAlgorithm): ActiveKey | undefined;
  /** Why there are no keys although there are: others may have changed them. `undefined`: these are the keys. */
  readonly withheld?: string;
}

/** The keys of an issuer as time goes by. */
export interface IssuerKeys {
  /** The keys of this moment. The same object as long as nothing changes. */
  current(): KeySet;
  /**
   * Sees to it that what the key of this purpose and algorithm signs can be verified for this long.
   *
   * @throws {KeyError} ERR_KEY when that cannot be stored
   */
  keepFor(purpose: KeyPurpose, algorithm: SigningAlgorithm, lifetimeSeconds: number): Promise<void>;
  /** Looks at the source again, and does what is due. It never throws: what goes wrong is an event. */
  refresh(): Promise<void>;
  /** Stops watching. */
  close(): Promise<void>;
}

/** A key and what is known of it. Times are in milliseconds since the epoch. */
export interface KeyStatus {
  readonly kid: string;
  readonly algorithm: SigningAlgorithm;
  /** `undefined` where that is not known of a key that does not sign. */
  readonly purpose: KeyPurpose | undefined;
  /** `published`: it does not sign, and whoever manages it knows whether it has or will. */
  readonly state: KeyState | "published";
  readonly createdAt: number | undefined;
  /** When it becomes something else, or its successor is to be made; where that is late, the time has passed. */
  readonly nextTransitionAt: number | undefined;
}

/** What may change while keys are in use. */
export interface KeyDemands {
  readonly needs: readonly KeyNeed[];
  readonly rotation: Rotation;
  /** Which keys of a token; `undefined` where they are not on one. */
  readonly listed?: ListedLabels | undefined;
}

/** Keys on a token. */
export interface ListedLabels {
  /** At least one, in the order of their use. */
  readonly labels: readonly string[];
  /** For how long a verifier may hold a JWK Set without a new key. */
  readonly jwksMaxAgeSeconds: number;
}

/** Keys for needs that may change. */
export interface AdaptableKeys extends IssuerKeys {
  /**
   * Sees to it that there are keys for other needs, and that they are rotated in another way. What is under way keeps its
   * times.
   *
   * @throws {KeyError} ERR_KEY when a key is lacking and cannot be made; then everything stays as it is
   */
  adapt(next: KeyDemands): Promise<void>;
  /** Whether the keys can sign at this moment, as far as is known: one that is kept elsewhere may be out of reach. */
  canSign(): boolean;
  /** What each key is at this moment. One that signs for two purposes is told of twice. */
  status(): readonly KeyStatus[];
  /** How the ring is shared with other replicas; `undefined` where it is not. */
  sharing(): SharedRingStatus | undefined;
}

/** What became of a key, or what is wrong with the keys. */
export type KeyEvent =
  | {
      readonly kind: "key";
      readonly kid: string;
      readonly algorithm: SigningAlgorithm;
      readonly purpose: KeyPurpose;
      readonly state: "pending" | "active" | "retiring" | "gone";
      /** When the next transition is due, in milliseconds since the epoch, where that is known. */
      readonly until: number | undefined;
    }
  /** There are no keys yet, because their store does not answer; it is asked until it does. */
  | { readonly kind: "waiting"; readonly message: string }
  /** Done as asked, with an effect that may not be wanted. */
  | { readonly kind: "warning"; readonly message: string }
  /** Where there is a problem the issuer goes on with the keys that it has. */
  | SourceHealth;

/** No keys, because those that there are must not be used now. */
export function withheldKeys(reason: string): KeySet {
  return Object.freeze({ ...keySetOf([], []), withheld: reason });
}

/** Builds a key set from the keys that sign and those that are published beside them. */
export function keySetOf(
  active: readonly (ActiveKey & { readonly purpose: KeyPurpose })[],
  others: readonly SigningKey[],
): KeySet {
  const published = new Map(
    [...active.map(({ key }) => key), ...others].map((key) => [key.kid, key.publicJwk]),
  );
  return Object.freeze({
    published: Object.freeze([...published.values()]),
    activeKey: (purpose: KeyPurpose, algorithm: SigningAlgorithm) =>
      active.find((entry) => entry.purpose === purpose && entry.key.algorithm === algorithm),
  });
}
