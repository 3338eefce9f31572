import { chmodSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { clientCertificateProblem } from "../../src/config/authenticators/client-certificate.ts";
import { readTlsFiles, type TlsOptions } from "../../src/gateway/listen/tls-files.ts";
import { createSidecar, parseConfig } from "../../src/index.ts";
import { createCa, issueForServer, writeTlsFiles } from "../support/certificates.ts";
import { runCommand, temporaryFolder } from "../support/command-line.ts";

const FILES = "cert: tls.crt, key: tls.key";

function parse(tls: string) {
  const text = `upstream: http://127.0.0.1:9000\nlisten:\n  address: 127.0.0.1:8443\n  tls: ${tls}\n`;
  return parseConfig(text, { file: "sidecar.yaml", baseDirectory: "/etc/countersign", env: {} }).config;
}

describe("listen.tls", () => {
  test("names files that start from the folder of the file, and asks clients for nothing", () => {
    expect(parse(`{${FILES}}`).listen[0]).toEqual({
      address: { kind: "tcp", host: "127.0.0.1", port: 8443 },
      http2: true,
      tls: {
        cert: "/etc/countersign/tls.crt",
        key: "/etc/countersign/tls.key",
        clientCa: undefined,
        clientCertificate: "none",
      },
    });
  });

  test.each(["optional", "required"] as const)("can ask clients for a certificate: %s", (mode) => {
    const { tls } = parse(`{${FILES}, clientCa: /ca.crt, clientCertificate: ${mode}}`).listen[0];
    expect(tls).toMatchObject({ clientCa: "/ca.crt", clientCertificate: mode });
  });

  test.each([
    ["{key: tls.key}", "4:8 listen.tls.cert: is missing; expected a string"],
    ["{cert: tls.crt}", "4:8 listen.tls.key: is missing; expected a string"],
    [`{cert: "", key: tls.key}`, "4:15 listen.tls.cert: expected a string that is not empty"],
    ["tls.crt", "4:8 listen.tls: expected a map with the keys cert, key, clientCa, clientCertificate"],
    [
      `{${FILES}, certificate: a}`,
      "4:38 listen.tls.certificate: unknown key `certificate`; the keys here are cert, key, clientCa, clientCertificate",
    ],
    [`{${FILES}, clientCA: a}`, "4:38 listen.tls.clientCA: unknown key `clientCA`; did you mean `clientCa`?"],
    [
      `{${FILES}, clientCa: a, clientCertificate: require}`,
      "4:70 listen.tls.clientCertificate: expected one of none, optional, required; did you mean required?",
    ],
    [
      `{${FILES}, clientCertificate: required}`,
      "4:57 listen.tls.clientCertificate: needs the key clientCa: which CAs are clients trusted for?",
    ],
    [
      `{${FILES}, clientCertificate: optional}`,
      "4:57 listen.tls.clientCertificate: needs the key clientCa: which CAs are clients trusted for?",
    ],
    [
      `{${FILES}, clientCa: ca.crt}`,
      "4:48 listen.tls.clientCa: has no effect, as no client is asked for a certificate; add clientCertificate: optional or required",
    ],
    [
      `{${FILES}, clientCa: ca.crt, clientCertificate: none}`,
      "4:48 listen.tls.clientCa: has no effect, as no client is asked for a certificate; add clientCertificate: optional or required",
    ],
  ])("%s: %s", (tls, problem) => {
    expect(() => parse(tls)).toThrow(`sidecar.yaml:${problem}`);
  });

  test("two problems in it are reported at once", () => {
    expect(() => parse("{cert: 1, key: tls.key, clientCertificate: required}")).toThrow(
      "sidecar.yaml:4:15 listen.tls.cert: expected a string\nsidecar.yaml:4:51 listen.tls.clientCertificate: needs",
    );
  });
});

describe("an authenticator for client certificates", () => {
  const [listener] = parse(`{${FILES}}`).listen;
  const { tls } = listener as { tls: TlsOptions };
  const NOT_ASKED =
    "no client is asked for a certificate; set listen.tls.clientCertificate to optional or required, or name with from the proxies whose Client-Cert field is believed";

  test("needs a listener that asks for them", () => {
    expect(clientCertificateProblem({}, [{ ...listener, tls: undefined }])).toBe(NOT_ASKED);
    expect(clientCertificateProblem({}, [listener])).toBe(NOT_ASKED);
    for (const clientCertificate of ["optional", "required"] as const)
      expect(
        clientCertificateProblem({}, [{ ...listener, tls: { ...tls, clientCertificate } }]),
      ).toBeUndefined();
  });

  test("needs none for those of a proxy in front", () => {
    expect(
      clientCertificateProblem({ from: ["10.0.0.0/8"] }, [{ ...listener, tls: undefined }]),
    ).toBeUndefined();
  });
});

const ca = await createCa();
const server = await issueForServer(ca);

/** A folder with `tls.crt`, `tls.key` and `ca.crt`, all good. */
function folderWithFiles() {
  const folder = temporaryFolder();
  writeTlsFiles(folder.path, server, ca);
  return folder;
}

function optionsIn(folder: string): TlsOptions {
  const [cert = "", key = "", clientCa] = ["tls.crt", "tls.key", "ca.crt"].map((name) => join(folder, name));
  return { cert, key, clientCa, clientCertificate: "required" };
}

/** What is said of the files of a folder in which one holds something else. */
async function refusalOf(name: string, content: string | undefined): Promise<string> {
  using folder = folderWithFiles();
  if (content === undefined) rmSync(join(folder.path, name));
  else writeFileSync(join(folder.path, name), content);
  const error = await readTlsFiles(optionsIn(folder.path)).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toMatchObject({ code: "ERR_LISTEN" });
  const { key, message } = error as { key: string; message: string };
  return `${key}: ${message.replaceAll(`${folder.path}/`, "")}`;
}

describe("files that cannot be used", () => {
  const CERT_EXPECTED = "expected the listener's certificate in PEM, followed by those between it and its CA";
  const CA_EXPECTED = "expected the certificates of the CAs that clients are trusted for, in PEM";
  const half = (text: string) => text.slice(0, text.length / 2);

  test("good ones are read, a certificate with those behind it", async () => {
    using folder = folderWithFiles();
    writeFileSync(join(folder.path, "tls.crt"), `a comment\n${server.cert}\n${ca.cert}`);
    const material = await readTlsFiles(optionsIn(folder.path));
    expect(material.cert.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    expect(material.key).toBe(server.key);
  });

  test.each([
    ["tls.crt", undefined, `cert: tls.crt: this file does not exist; ${CERT_EXPECTED}`],
    ["ca.crt", undefined, `clientCa: ca.crt: this file does not exist; ${CA_EXPECTED}`],
    ["tls.crt", "", `cert: tls.crt: no certificate in PEM is in this file; ${CERT_EXPECTED}`],
    ["tls.crt", server.key, `cert: tls.crt: no certificate in PEM is in this file; ${CERT_EXPECTED}`],
    ["ca.crt", server.key, `clientCa: ca.crt: no certificate in PEM is in this file; ${CA_EXPECTED}`],
    ["tls.crt", half(server.cert), `cert: tls.crt: no certificate in PEM is in this file; ${CERT_EXPECTED}`],
    [
      "ca.crt",
      ca.cert + half(ca.cert),
      `clientCa: ca.crt: a certificate in this file has no end; it may be truncated; ${CA_EXPECTED}`,
    ],
    [
      "tls.crt",
      server.cert.replace(/\n.{64}\n/, "\n"),
      `cert: tls.crt: certificate 1 in this file cannot be read; it may be truncated; ${CERT_EXPECTED}`,
    ],
    [
      "tls.key",
      server.cert,
      "key: tls.key: no private key in PEM is in this file; expected that of the listener's certificate",
    ],
    [
      "tls.key",
      half(server.key),
      "key: tls.key: cannot be read as a private key in PEM; it may be truncated",
    ],
    [
      "tls.key",
      "-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
      "key: tls.key: this key is encrypted, and the listener has no passphrase for it; write it without one: openssl pkey -in OLD -out NEW",
    ],
    [
      "tls.crt",
      ca.cert + server.cert,
      "key: tls.key: this is not the private key of the first certificate in tls.crt; name the key that the certificate was made for, and put the listener's own certificate before its CA's",
    ],
  ])("%s with the wrong content: %#", async (name, content, expected) => {
    expect(await refusalOf(name, content)).toBe(expected);
  });

  test("a private key that does not exist is named", async () => {
    expect(await refusalOf("tls.key", undefined)).toMatch(
      /^key: tls\.key: this key file cannot be read: ENOENT/,
    );
  });

  test("a private key that everybody may read is refused", async () => {
    using folder = folderWithFiles();
    const file = join(folder.path, "tls.key");
    chmodSync(file, 0o644);
    await expect(readTlsFiles(optionsIn(folder.path))).rejects.toMatchObject({
      code: "ERR_LISTEN",
      message: `${file}: this key file is open to other users (mode 0644); close it: chmod 640 ${file}`,
    });
  });

  test("a message never holds what is in a key file", async () => {
    const secret = server.key.split("\n")[1] ?? "";
    expect(await refusalOf("tls.key", half(server.key))).not.toContain(secret.slice(0, 20));
  });

  const YAML = `upstream: http://127.0.0.1:9
issuer: {keys: {ephemeral: true}}
admin: false
listen:
  address: 127.0.0.1:0
  tls: {cert: tls.crt, key: tls.key}
`;

  test("a sidecar does not start with them", async () => {
    using folder = folderWithFiles();
    rmSync(join(folder.path, "tls.crt"));
    const { config } = parseConfig(YAML, { file: "sidecar.yaml", baseDirectory: folder.path });
    await expect(createSidecar(config).start()).rejects.toMatchObject({
      code: "ERR_LISTEN",
      message: expect.stringContaining("tls.crt: this file does not exist"),
    });
  });

  test("countersign validate finds them, with the place of the key that names the file", async () => {
    using folder = folderWithFiles();
    writeFileSync(join(folder.path, "sidecar.yaml"), YAML);
    expect(await runCommand(["validate"], { cwd: folder.path })).toMatchObject({ code: 0 });

    chmodSync(join(folder.path, "tls.key"), 0o604);
    const { code, stderr } = await runCommand(["validate"], { cwd: folder.path });

    expect(code).toBe(1);
    expect(stderr).toMatch(
      /sidecar\.yaml:6:29 listen\.tls\.key: .*tls\.key: this key file is open to other users/,
    );
  });
});
