/** The numbers of attributes that are used (PKCS#11 v3.0, CKA_…). */
export const ATTRIBUTE = {
  class: 0x0,
  token: 0x1,
  private: 0x2,
  label: 0x3,
  keyType: 0x100,
  id: 0x102,
  sensitive: 0x103,
  sign: 0x108,
  verify: 0x10a,
  modulus: 0x120,
  modulusBits: 0x121,
  publicExponent: 0x122,
  extractable: 0x162,
  ecParameters: 0x180,
  ecPoint: 0x181,
  alwaysAuthenticate: 0x202,
} as const;

/** CKO_… */
export const OBJECT_CLASS = { publicKey: 2, privateKey: 3 } as const;

/** CKK_… */
export const KEY_TYPE = { rsa: 0x0, ec: 0x3, ecEdwards: 0x40 } as const;

/** A curve, and its parameters as CKA_EC_PARAMS has them: an object identifier in DER. */
interface Curve {
  readonly parameters: Buffer;
  /** The length of a point, whole: for Weierstrass curves 4 and two coordinates, for Edwards curves the number. */
  readonly pointBytes: number;
}

const curve = (parameters: string, pointBytes: number): Curve => ({
  parameters: Buffer.from(parameters, "hex"),
  pointBytes,
});

/** By the names of JWK (RFC 7518 §6.2.1.1, RFC 8037 §2). */
export const CURVES = {
  "P-256": curve("06082a8648ce3d030107", 65),
  "P-384": curve("06052b81040022", 97),
  "P-521": curve("06052b81040023", 133),
  Ed25519: curve("06032b6570", 32),
} as const;

/** The other form of the parameters of Ed25519: its name, "edwards25519" as a PrintableString (PKCS#11 v3.0 §2.3.10). */
const EDWARDS25519 = Buffer.from("130c656477617264733235353139", "hex");
const UNCOMPRESSED = 4;

/** Reads the attribute of an object; `undefined` where it has none. */
export type AttributeReader = (type: number) => Buffer | undefined;

/** The public key that an object's attributes say, as a JWK; `undefined` where they say none that a token is signed with. */
export function publicJwkOf(read: AttributeReader): Readonly<Record<string, string>> | undefined {
  const type = numberOf(read(ATTRIBUTE.keyType));
  if (type === KEY_TYPE.rsa) {
    const n = read(ATTRIBUTE.modulus);
    const e = read(ATTRIBUTE.publicExponent);
    return n?.length && e?.length ? { kty: "RSA", n: unsigned(n), e: unsigned(e) } : undefined;
  }
  return type === KEY_TYPE.ec || type === KEY_TYPE.ecEdwards ? curveJwkOf(read) : undefined;
}

function curveJwkOf(read: AttributeReader): Readonly<Record<string, string>> | undefined {
  const parameters = read(ATTRIBUTE.ecParameters) ?? Buffer.alloc(0);
  const [name, { pointBytes }] = Object.entries(CURVES).find(([, known]) =>
    known.parameters.equals(parameters),
  ) ?? ["Ed25519", CURVES.Ed25519];
  if (name === "Ed25519" && !CURVES.Ed25519.parameters.equals(parameters) && !EDWARDS25519.equals(parameters))
    return undefined;
  // An OCTET STRING in DER, which most tokens have, or what is in it: either way the point is at the end.
  const point = (read(ATTRIBUTE.ecPoint) ?? Buffer.alloc(0)).subarray(-pointBytes);
  if (point.length !== pointBytes) return undefined;
  if (name === "Ed25519") return { kty: "OKP", crv: name, x: point.toString("base64url") };
  if (point[0] !== UNCOMPRESSED) return undefined;
  const middle = 1 + (pointBytes - 1) / 2;
  const x = point.subarray(1, middle).toString("base64url");
  return { kty: "EC", crv: name, x, y: point.subarray(middle).toString("base64url") };
}

/** A number without zeros before it (RFC 7518 §2, Base64urlUInt). */
function unsigned(number: Buffer): string {
  const first = number.findIndex((byte) => byte !== 0);
  return number.subarray(Math.max(0, first)).toString("base64url");
}

/** A CK_ULONG, as long as the machine has it, in the order of bytes that every supported machine has. */
export function numberOf(value: Buffer | undefined): number | undefined {
  if (!value || value.length === 0) return undefined;
  return Number(BigInt(`0x${Buffer.from(value).reverse().toString("hex")}`));
}
