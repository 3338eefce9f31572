import { createHash } from "node:crypto";
import { requirementOf, type SigningAlgorithm } from "../../algorithms.ts";
import type { Attribute, Mechanism } from "./cryptoki.ts";
import { ATTRIBUTE, CURVES, KEY_TYPE } from "./objects.ts";

/** How a token signs with an algorithm. */
export interface SigningMechanism {
  readonly mechanism: Mechanism;
  /** The digest that is made here, because the token signs what it is given. */
  readonly digest?: "sha256" | "sha384" | "sha512";
}

// What tells pkcs11js how to pass the parameter on (its CK_PARAMS_RSA_PSS).
const PSS_PARAMETER = 5;

/** The salt is as long as the digest (RFC 7518 §3.5), and the mask is made with the same one. */
function pss(mechanism: number, hashAlg: number, mgf: number, saltLen: number): SigningMechanism {
  return { mechanism: { mechanism, parameter: { type: PSS_PARAMETER, hashAlg, mgf, saltLen } } };
}

// CKM_ECDSA gives the two numbers side by side, as a JWS has them (PKCS#11 v3.0 §2.3.1, RFC 7518 §3.4).
const CKM_ECDSA = { mechanism: 0x1041 };

/** CKM_EDDSA, CKM_SHA…_RSA_PKCS, CKM_SHA…_RSA_PKCS_PSS and CKM_ECDSA (PKCS#11 v3.0). */
const MECHANISMS: Readonly<Record<SigningAlgorithm, SigningMechanism>> = {
  EdDSA: { mechanism: { mechanism: 0x1057 } },
  RS256: { mechanism: { mechanism: 0x40 } },
  RS384: { mechanism: { mechanism: 0x41 } },
  RS512: { mechanism: { mechanism: 0x42 } },
  PS256: pss(0x43, 0x250, 2, 32),
  PS384: pss(0x44, 0x260, 3, 48),
  PS512: pss(0x45, 0x270, 4, 64),
  ES256: { mechanism: CKM_ECDSA, digest: "sha256" },
  ES384: { mechanism: CKM_ECDSA, digest: "sha384" },
  ES512: { mechanism: CKM_ECDSA, digest: "sha512" },
};

/** How a token signs `input` with an algorithm: the mechanism, and what it is given. */
export function signingOf(
  algorithm: SigningAlgorithm,
  input: Buffer,
): { readonly mechanism: Mechanism; readonly data: Buffer } {
  const { mechanism, digest } = MECHANISMS[algorithm];
  return { mechanism, data: digest === undefined ? input : createHash(digest).update(input).digest() };
}

/** Larger than the minimum of RFC 7518: NIST SP 800-57 puts 2048 bits at an end in 2030. */
const GENERATED_RSA_BITS = 3072;
const RSA_EXPONENT = Buffer.from([1, 0, 1]);
const CKM_RSA_PKCS_KEY_PAIR_GEN = 0x0;
const CKM_EC_KEY_PAIR_GEN = 0x1040;
const CKM_EC_EDWARDS_KEY_PAIR_GEN = 0x1055;

/** How a token makes a key pair. */
export interface Generation {
  readonly mechanism: Mechanism;
  readonly publicTemplate: readonly Attribute[];
  readonly privateTemplate: readonly Attribute[];
}

/**
 * How a token makes a key pair for an algorithm whose private key never leaves it.
 *
 * @param id what its two halves have in common
 */
export function generationOf(algorithm: SigningAlgorithm, label: string, id: Buffer): Generation {
  const { type, mechanism, specific } = kindOf(algorithm);
  const both = [
    { type: ATTRIBUTE.token, value: true },
    { type: ATTRIBUTE.label, value: label },
    { type: ATTRIBUTE.id, value: id },
    { type: ATTRIBUTE.keyType, value: type },
  ];
  return {
    mechanism: { mechanism },
    publicTemplate: [...both, { type: ATTRIBUTE.verify, value: true }, ...specific],
    privateTemplate: [
      ...both,
      { type: ATTRIBUTE.private, value: true },
      { type: ATTRIBUTE.sensitive, value: true },
      { type: ATTRIBUTE.extractable, value: false },
      { type: ATTRIBUTE.sign, value: true },
    ],
  };
}

function kindOf(algorithm: SigningAlgorithm) {
  const required = requirementOf(algorithm);
  if (required.type === "rsa")
    return {
      type: KEY_TYPE.rsa,
      mechanism: CKM_RSA_PKCS_KEY_PAIR_GEN,
      specific: [
        { type: ATTRIBUTE.modulusBits, value: GENERATED_RSA_BITS },
        { type: ATTRIBUTE.publicExponent, value: RSA_EXPONENT },
      ],
    };
  const name = required.type === "ed25519" ? "Ed25519" : required.curveName;
  const specific = [{ type: ATTRIBUTE.ecParameters, value: CURVES[name].parameters }];
  return required.type === "ed25519"
    ? { type: KEY_TYPE.ecEdwards, mechanism: CKM_EC_EDWARDS_KEY_PAIR_GEN, specific }
    : { type: KEY_TYPE.ec, mechanism: CKM_EC_KEY_PAIR_GEN, specific };
}
