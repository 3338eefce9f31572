/** What a sidecar asks of the process that holds a token's library, and what that answers. */

import type { SigningAlgorithm } from "../../algorithms.ts";

/** Which token: by the label that it was given, or the number of the slot that it is in. */
export type TokenPlace =
  | { readonly kind: "label"; readonly label: string }
  | { readonly kind: "slot"; readonly slot: number };

/** A token, and how it is opened. */
export interface TokenAccess {
  /** The path of the PKCS#11 library. */
  readonly library: string;
  readonly place: TokenPlace;
  readonly pin: string;
}

/** A key pair on a token. */
export interface TokenKey {
  readonly label: string;
  /** The public key, without `kid` and `alg`. */
  readonly jwk: Readonly<Record<string, string>>;
  /** Of the public key: what is found under the label later has to have it too. */
  readonly fingerprint: string;
  /** What is doubtful about how the private key is kept, as the end of a sentence. */
  readonly doubts: readonly string[];
}

/** What is asked. */
export type TokenOrder =
  /** The first of all. */
  | { readonly kind: "open"; readonly access: TokenAccess }
  /** Looks for the key pairs with these labels. */
  | { readonly kind: "find"; readonly labels: readonly string[] }
  | {
      readonly kind: "sign";
      readonly label: string;
      readonly fingerprint: string;
      readonly algorithm: SigningAlgorithm;
      /** What is to be signed (RFC 7515 §5.1). */
      readonly input: Uint8Array;
    }
  /** Makes a key pair that never leaves the token. */
  | { readonly kind: "generate"; readonly label: string; readonly algorithm: SigningAlgorithm }
  /** Lists the labels of all private keys. */
  | { readonly kind: "list" };

/** An order, by a number that its answer has too. */
export interface NumberedOrder {
  readonly id: number;
  readonly order: TokenOrder;
}

/** What went wrong with an order. */
export interface TokenProblem {
  readonly message: string;
  /**
   * `refused`: the token works and does not do this. `pin`: it refuses the PIN, and counts. `lost`: the session, the token
   * or the library is in a state that a new process may mend.
   */
  readonly kind: "refused" | "pin" | "lost";
}

/** What an order was answered with. */
export interface TokenAnswer {
  readonly id: number;
  readonly problem?: TokenProblem;
  /** Of `find`: those that there are, in the order of the labels. */
  readonly keys?: readonly TokenKey[];
  /** Of `list`. */
  readonly labels?: readonly string[];
  /** Of `sign`: as a JWS has it. */
  readonly signature?: Uint8Array;
}
