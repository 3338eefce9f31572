import { createPublicKey } from "node:crypto";
import { describe, expect, test, vi } from "vitest";
import { ATTRIBUTE, CURVES, KEY_TYPE, publicJwkOf } from "../../../src/issuer/keys/pkcs11/objects.ts";
import { login } from "../../../src/issuer/keys/pkcs11/token.ts";
import { connectToken } from "../../../src/issuer/keys/pkcs11/token-connection.ts";
import { failureOf } from "../../../src/issuer/keys/pkcs11/token-failure.ts";
import { libraryProcesses } from "../../support/softhsm.ts";
import { jwkOf, privateKeyFor } from "./key-material.ts";

/** Attributes of an object; numbers as this machine has a CK_ULONG. */
function reader(values: Readonly<Record<number, Buffer | number>>) {
  return (type: number): Buffer | undefined => {
    const value = values[type];
    if (typeof value !== "number") return value;
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    return bytes;
  };
}

describe("a public key is read from the attributes of an object", () => {
  test.each([
    ["P-256", "ES256", "0441"],
    ["P-384", "ES384", "0461"],
    ["P-521", "ES512", "048185"],
  ] as const)("on %s, whether its point is wrapped in DER or not", (curve, algorithm, der) => {
    const { kty, crv, x, y } = jwkOf(createPublicKey(privateKeyFor(algorithm)));
    const point = Buffer.concat([
      Buffer.from([4]),
      Buffer.from(String(x), "base64url"),
      Buffer.from(String(y), "base64url"),
    ]);
    for (const value of [point, Buffer.concat([Buffer.from(der, "hex"), point])])
      expect(
        publicJwkOf(
          reader({
            [ATTRIBUTE.keyType]: KEY_TYPE.ec,
            [ATTRIBUTE.ecParameters]: CURVES[curve].parameters,
            [ATTRIBUTE.ecPoint]: value,
          }),
        ),
      ).toEqual({ kty, crv, x, y });
  });

  test.each(["06032b6570", "130c656477617264733235353139"])(
    "of Ed25519 with the parameters %s",
    (parameters) => {
      const { kty, crv, x } = jwkOf(createPublicKey(privateKeyFor("EdDSA")));
      const point = Buffer.concat([Buffer.from("0420", "hex"), Buffer.from(String(x), "base64url")]);
      expect(
        publicJwkOf(
          reader({
            [ATTRIBUTE.keyType]: KEY_TYPE.ecEdwards,
            [ATTRIBUTE.ecParameters]: Buffer.from(parameters, "hex"),
            [ATTRIBUTE.ecPoint]: point,
          }),
        ),
      ).toEqual({ kty, crv, x });
    },
  );

  test("of RSA, without zeros in front", () => {
    const { kty, n, e } = jwkOf(createPublicKey(privateKeyFor("RS256")));
    const modulus = Buffer.concat([Buffer.alloc(1), Buffer.from(String(n), "base64url")]);
    expect(
      publicJwkOf(
        reader({
          [ATTRIBUTE.keyType]: KEY_TYPE.rsa,
          [ATTRIBUTE.modulus]: modulus,
          [ATTRIBUTE.publicExponent]: Buffer.from([0, 1, 0, 1]),
        }),
      ),
    ).toEqual({ kty, n, e });
  });

  test.each([
    ["another curve", { [ATTRIBUTE.ecParameters]: Buffer.from("06052b8104000a", "hex") }],
    ["a point that is compressed", { [ATTRIBUTE.ecPoint]: Buffer.alloc(65, 2) }],
    ["a point that is cut short", { [ATTRIBUTE.ecPoint]: Buffer.alloc(40, 4) }],
    ["no point", { [ATTRIBUTE.ecPoint]: Buffer.alloc(0) }],
    ["another type of key", { [ATTRIBUTE.keyType]: 1 }],
  ])("but not with %s", (_, changes) => {
    const values = {
      [ATTRIBUTE.keyType]: KEY_TYPE.ec,
      [ATTRIBUTE.ecParameters]: CURVES["P-256"].parameters,
      [ATTRIBUTE.ecPoint]: Buffer.alloc(65, 4),
    };
    expect(publicJwkOf(reader(values))).toMatchObject({ crv: "P-256" });
    expect(publicJwkOf(reader({ ...values, ...changes }))).toBeUndefined();
  });
});

describe("a connection to a token", () => {
  const place = { kind: "label", label: "none" } as const;
  const settings = { library: "/usr/lib/no-such-library.so", place, pin: "a PIN" };

  test("that cannot be opened is not tried again at once, and leaves no process", async () => {
    let tries = 0;
    const access = async () => {
      tries++;
      return settings;
    };
    const connection = connectToken({ name: "token none", access, onLost() {} });
    for (let index = 0; index < 5; index++)
      await expect(connection.find(["one"])).rejects.toMatchObject({ code: "ERR_KEY" });
    expect(tries).toBe(1);
    await vi.waitFor(() => expect(libraryProcesses()).toEqual([]));
    await connection.close();
  });

  test("that is closed while it is opened starts no process", async () => {
    const gate = Promise.withResolvers<typeof settings>();
    const connection = connectToken({ name: "token none", access: () => gate.promise, onLost() {} });
    const found = connection.find(["one"]);
    const closing = connection.close();
    gate.resolve(settings);
    await expect(found).rejects.toThrow("it is closed");
    await closing;
    expect(libraryProcesses()).toEqual([]);
  });
});

test("no PIN is tried where the next wrong one locks the token, or it is locked", () => {
  const LOGIN_REQUIRED = 0x4;
  const tried: string[] = [];
  const cryptoki = {
    C_Login(_: unknown, __: number, pin: string) {
      tried.push(pin);
    },
  };
  const logIn = (flags: number) => login(cryptoki, Buffer.alloc(8), "a PIN", LOGIN_REQUIRED | flags);
  expect(() => logIn(0x20000)).toThrow("one more wrong PIN locks the token");
  expect(() => logIn(0x40000)).toThrow("the PIN is locked");
  expect(tried).toEqual([]);
  logIn(0);
  logIn(0x10000);
  expect(tried).toEqual(["a PIN", "a PIN"]);
});

test.each([
  ["CKR_PIN_INCORRECT:160\n    at PKCS11.C_Login", "pin", "the login failed: the PIN is wrong"],
  [
    "CKR_DEVICE_ERROR:48",
    "lost",
    "the login failed: the token or the way to it is broken (CKR_DEVICE_ERROR)",
  ],
  ["CKR_MECHANISM_INVALID:112", "refused", "the token cannot do that algorithm"],
  ["CKR_VENDOR_DEFINED:1", "lost", "the login failed (CKR_VENDOR_DEFINED)"],
  ["the PIN was 1234", "lost", "the login failed"],
] as const)("%j is told of without what a library adds", (message, kind, text) => {
  const failure = failureOf(new Error(message), "the login");
  expect(failure.kind).toBe(kind);
  expect(failure.message).toContain(text);
  expect(failure.message).not.toMatch(/1234|C_Login/);
});
