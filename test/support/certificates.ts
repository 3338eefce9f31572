import "reflect-metadata";
import { generateKeyPairSync, randomBytes, X509Certificate } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  BasicConstraintsExtension,
  type JsonGeneralName,
  type JsonName,
  SubjectAlternativeNameExtension,
  type X509CertificateCreateWithKeyParams,
  X509CertificateGenerator,
} from "@peculiar/x509";

const HOUR_MILLISECONDS = 3_600_000;
const ALGORITHM = { name: "ECDSA", hash: "SHA-256" };

/** What stands in a certificate. */
export interface CertificateContent {
  /** One name, or several. Default: none. */
  readonly commonName?: string | readonly string[];
  /** Subject alternative names, as they are: nothing about them is checked. Default: none. */
  readonly names?: readonly JsonGeneralName[];
  /** Default: an hour ago. */
  readonly notBefore?: Date;
  /** Default: in an hour. */
  readonly notAfter?: Date;
}

/** A certificate and its private key, both in PEM. */
export interface TestCertificate {
  readonly cert: string;
  readonly key: string;
  readonly x509: X509Certificate;
}

/** Somebody who makes certificates. */
export interface TestCa {
  /** In PEM. */
  readonly cert: string;
  issue(content: CertificateContent): Promise<TestCertificate>;
}

/** Makes a CA with a key of its own. */
export async function createCa(name = "Test CA"): Promise<TestCa> {
  const own = generateKeyPair();
  const subject: JsonName = [{ CN: [name] }, { O: ["Example, Inc."] }];
  const cert = await sign({
    issuer: subject,
    subject,
    publicKey: own.publicKey,
    signingKey: own.privateKey,
    notBefore: hoursFromNow(-1000),
    notAfter: hoursFromNow(1000),
    extensions: [new BasicConstraintsExtension(true, undefined, true)],
  });
  return {
    cert,
    async issue({ commonName = [], names = [], notBefore, notAfter }) {
      const keys = generateKeyPair();
      const issued = await sign({
        issuer: subject,
        subject: [commonName].flat().map((value) => ({ CN: [value] })),
        publicKey: keys.publicKey,
        signingKey: own.privateKey,
        notBefore: notBefore ?? hoursFromNow(-1),
        notAfter: notAfter ?? hoursFromNow(1),
        extensions: names.length === 0 ? [] : [new SubjectAlternativeNameExtension([...names])],
      });
      return { cert: issued, key: keys.pem, x509: new X509Certificate(issued) };
    },
  };
}

/** A certificate for a server at 127.0.0.1 and localhost. */
export function issueForServer(ca: TestCa): Promise<TestCertificate> {
  const names = [{ type: "ip", value: "127.0.0.1" } as const, { type: "dns", value: "localhost" } as const];
  return ca.issue({ commonName: "localhost", names });
}

/** Writes `tls.crt`, `tls.key` and `ca.crt`, as the documentation names them. */
export function writeTlsFiles(folder: string, { cert, key }: TestCertificate, ca: TestCa): void {
  writeFileSync(join(folder, "tls.crt"), cert);
  writeFileSync(join(folder, "tls.key"), key, { mode: 0o600 });
  writeFileSync(join(folder, "ca.crt"), ca.cert);
}

function hoursFromNow(hours: number): Date {
  return new Date(Date.now() + hours * HOUR_MILLISECONDS);
}

function generateKeyPair() {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const curve = { name: "ECDSA", namedCurve: "P-256" };
  return {
    publicKey: publicKey.toCryptoKey(curve, true, ["verify"]),
    privateKey: privateKey.toCryptoKey(curve, true, ["sign"]),
    pem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

async function sign(content: X509CertificateCreateWithKeyParams): Promise<string> {
  const serialNumber = `4${randomBytes(15).toString("hex").slice(1)}`;
  const certificate = await X509CertificateGenerator.create({
    ...content,
    serialNumber,
    signingAlgorithm: ALGORITHM,
  });
  return certificate.toString("pem");
}
