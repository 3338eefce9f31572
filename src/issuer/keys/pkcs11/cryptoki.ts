import { reasonOf } from "../../../errors.ts";
import { TokenFailure } from "./token-failure.ts";

/** A handle of the library: a slot, a session or an object. */
export type Handle = Buffer;

/** An attribute of an object by its number: to ask for, or with its value. */
export interface Attribute {
  readonly type: number;
  readonly value?: Buffer | boolean | number | string;
}

/** A mechanism by its number. */
export interface Mechanism {
  readonly mechanism: number;
  readonly parameter?: PssParameter;
}

interface PssParameter {
  readonly type: number;
  readonly hashAlg: number;
  readonly mgf: number;
  readonly saltLen: number;
}

/** What is used of the functions of PKCS#11 as the package pkcs11js has them. What the library refuses is thrown. */
export interface Cryptoki {
  load(library: string): void;
  C_Initialize(options: { readonly flags: number }): void;
  C_Finalize(): void;
  C_GetSlotList(tokenPresent: boolean): Handle[];
  C_GetTokenInfo(slot: Handle): { readonly label: string; readonly flags: number };
  C_OpenSession(slot: Handle, flags: number): Handle;
  C_CloseSession(session: Handle): void;
  C_Login(session: Handle, userType: number, pin: string): void;
  C_FindObjectsInit(session: Handle, template: readonly Attribute[]): void;
  C_FindObjects(session: Handle, maxCount: number): Handle[];
  C_FindObjectsFinal(session: Handle): void;
  C_GetAttributeValue(
    session: Handle,
    object: Handle,
    template: readonly Attribute[],
  ): { readonly value: Buffer }[];
  C_SignInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_SignAsync(session: Handle, input: Buffer, output: Buffer): Promise<Buffer>;
  C_GenerateKeyPair(
    session: Handle,
    mechanism: Mechanism,
    publicTemplate: readonly Attribute[],
    privateTemplate: readonly Attribute[],
  ): unknown;
}

/** Not in a literal: where the package is not installed the sources compile all the same. */
const PACKAGE: string = "pkcs11js";

/**
 * Loads the package that speaks to PKCS#11 libraries.
 *
 * @throws {TokenFailure} where it is not installed, with what to do
 */
export async function loadCryptoki(): Promise<Cryptoki> {
  let exported: unknown;
  try {
    exported = await import(PACKAGE);
  } catch (error) {
    throw new TokenFailure(
      "refused",
      `the package pkcs11js cannot be loaded, which PKCS#11 needs: npm install pkcs11js, or npm rebuild pkcs11js where it was not compiled; it needs a C++ compiler, make and Python (${firstLineOf(reasonOf(error))})`,
    );
  }
  if (hasCryptoki(exported)) return new exported.PKCS11();
  throw new TokenFailure(
    "refused",
    "the package pkcs11js that is installed is another one; npm install pkcs11js@2",
  );
}

function hasCryptoki(exported: unknown): exported is { readonly PKCS11: new () => Cryptoki } {
  return (
    typeof exported === "object" &&
    exported !== null &&
    "PKCS11" in exported &&
    typeof exported.PKCS11 === "function"
  );
}

function firstLineOf(text: string): string {
  return text.split("\n", 1)[0] ?? "";
}
