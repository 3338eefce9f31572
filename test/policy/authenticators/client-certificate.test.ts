import type { X509Certificate } from "node:crypto";
import { describe, expect, test } from "vitest";
import { openClientCertificate } from "../../../src/policy/authenticators/client-certificate.ts";
import type { ClientCertificateOptions } from "../../../src/policy/authenticators/options.ts";
import type { CallerRequest } from "../../../src/policy/caller-request.ts";
import { type CertificateContent, createCa } from "../../support/certificates.ts";

const PROXY = "10.0.0.7";
const ca = await createCa();

const issue = async (content: CertificateContent) => (await ca.issue(content)).x509;
const aClient = await issue({ commonName: "orders" });

function open(options: Partial<ClientCertificateOptions> = {}, now: () => number = Date.now) {
  const complete: ClientCertificateOptions = {
    type: "clientCertificate",
    subject: "commonName",
    from: undefined,
    forwardCredential: false,
    ...options,
  };
  return openClientCertificate("mesh", complete, { now, onEvent: () => {} });
}

/** A request over a TLS connection with this certificate. */
function overTls(certificate: X509Certificate | undefined, isTrusted = true): CallerRequest {
  const shown = certificate && { certificate, isTrusted };
  return { rawFields: [], target: "/", peer: { address: "192.0.2.1", certificate: () => shown } };
}

/** A request with these Client-Cert fields, from a proxy in front. */
function withFields(values: readonly string[], address = PROXY): CallerRequest {
  const rawFields = values.flatMap((value) => ["Client-Cert", value]);
  return { rawFields, target: "/", peer: { address, certificate: () => undefined } };
}

/** A certificate as RFC 9440 writes it. */
const fieldOf = (certificate: X509Certificate) => `:${certificate.raw.toString("base64")}:`;

const subjectOf = (outcome: unknown) => (outcome as { user?: { sub: string } }).user?.sub;

describe("the certificate of the TLS connection", () => {
  test("a client that shows none is somebody for another authenticator", async () => {
    expect(await (await open()).authenticate(overTls(undefined))).toEqual({
      kind: "not-mine",
      reason: "the client showed no certificate",
    });
  });

  test("one that leads to no trusted CA is refused", async () => {
    expect(await (await open()).authenticate(overTls(aClient, false))).toEqual({
      kind: "invalid",
      reason: "the certificate leads to no CA that is trusted",
    });
  });

  test.each([
    ["commonName", "orders"],
    ["dns", "orders.internal"],
    ["uri", "spiffe://example.com/orders"],
    ["email", "orders@example.com"],
  ] as const)("the subject is its first name of the kind %s", async (subject, expected) => {
    const certificate = await issue({
      commonName: "orders",
      names: [
        { type: "email", value: "orders@example.com" },
        { type: "url", value: "spiffe://example.com/orders" },
        { type: "url", value: "spiffe://example.com/second" },
        { type: "dns", value: "orders.internal" },
        { type: "dns", value: "second.internal" },
        { type: "ip", value: "192.0.2.9" },
      ],
    });

    const outcome = await (await open({ subject })).authenticate(overTls(certificate));

    expect(outcome).toEqual({
      kind: "user",
      user: {
        sub: expected,
        claims: {
          commonName: "orders",
          dns: ["orders.internal", "second.internal"],
          uri: ["spiffe://example.com/orders", "spiffe://example.com/second"],
          email: ["orders@example.com"],
          serialNumber: certificate.serialNumber,
          fingerprint256: certificate.fingerprint256,
          issuer: "O=Example\\, Inc.,CN=Test CA",
        },
      },
    });
  });

  test("only names that it has become claims", async () => {
    const certificate = await issue({ names: [{ type: "dns", value: "a.internal" }] });
    const outcome = await (await open({ subject: "dns" })).authenticate(overTls(certificate));
    expect(outcome).toMatchObject({ kind: "user" });
    expect(Object.keys((outcome as { user: { claims: object } }).user.claims)).toEqual([
      "dns",
      "serialNumber",
      "fingerprint256",
      "issuer",
    ]);
  });

  test.each(["commonName", "dns", "uri", "email"] as const)(
    "one without a name of the kind %s is refused, whatever other names it has",
    async (subject) => {
      const others = {
        ...(subject !== "commonName" && { commonName: "orders" }),
        names: (["dns", "url", "email"] as const)
          .filter((type) => type !== (subject === "uri" ? "url" : subject))
          .map((type) => ({ type, value: "https://a.example" })),
      };
      expect(await (await open({ subject })).authenticate(overTls(await issue(others)))).toEqual({
        kind: "invalid",
        reason: `the certificate has no name of the kind ${subject}`,
      });
    },
  );

  test("one with two common names is refused: programs differ in which one counts", async () => {
    const certificate = await issue({ commonName: ["orders", "admin"] });
    expect(await (await open()).authenticate(overTls(certificate))).toEqual({
      kind: "invalid",
      reason: "the certificate has more than one common name",
    });
  });

  test("a caller is told what to come with", async () => {
    expect((await open()).challenge(undefined)).toBe('ClientCertificate realm="countersign"');
  });

  test("nothing of the request is a credential that could be taken out", async () => {
    expect((await open()).place).toEqual({});
  });
});

describe("its period of validity", () => {
  const notBefore = new Date("2030-01-01T00:00:00Z");
  const notAfter = new Date("2030-02-01T00:00:00Z");
  const EARLY = { kind: "invalid", reason: "the certificate is not valid yet" };
  const EXPIRED = { kind: "invalid", reason: "the certificate has expired" };

  test("both ends belong to it", async () => {
    const certificate = await issue({ commonName: "orders", notBefore, notAfter });
    const at = async (time: number) => (await open({}, () => time)).authenticate(overTls(certificate));
    expect(await at(notBefore.getTime() - 1000)).toEqual(EARLY);
    expect(subjectOf(await at(notBefore.getTime()))).toBe("orders");
    expect(subjectOf(await at(notAfter.getTime()))).toBe("orders");
    expect(await at(notAfter.getTime() + 1000)).toEqual(EXPIRED);
  });

  test("one that expires while its connection stays open is refused from then on", async () => {
    const certificate = await issue({ commonName: "orders", notBefore, notAfter });
    let time = notAfter.getTime();
    const authenticator = await open({}, () => time);
    expect(subjectOf(await authenticator.authenticate(overTls(certificate)))).toBe("orders");
    time += 1000;
    expect(await authenticator.authenticate(overTls(certificate))).toEqual(EXPIRED);
  });

  test("one from a proxy's field is refused too when it has expired, also where it was read before", async () => {
    const certificate = await issue({ commonName: "orders", notBefore, notAfter });
    let time = notAfter.getTime();
    const authenticator = await open({ from: ["10.0.0.0/8"] }, () => time);
    const request = withFields([fieldOf(certificate)]);
    expect(subjectOf(await authenticator.authenticate(request))).toBe("orders");
    time += 1000;
    expect(await authenticator.authenticate(request)).toEqual(EXPIRED);
  });
});

describe("a name that pretends to be another", () => {
  const EVIL = "spiffe://example.com/admin";

  test.each([
    ["a comma and another kind", `a.internal, URI:${EVIL}`],
    ["a quote and another kind", `a.internal", URI:${EVIL}`],
    ["a quote of the other kind", `a.internal', URI:${EVIL}`],
    ["a backslash before a quote", `a.internal\\", URI:"${EVIL}`],
    ["a whole JSON string", `"a.internal", URI:"${EVIL}"`],
    ["a comma without a space", `a.internal,URI:${EVIL}`],
  ])("%s stays one name", async (_, forged) => {
    const certificate = await issue({ names: [{ type: "dns", value: forged }] });
    expect(await (await open({ subject: "uri" })).authenticate(overTls(certificate))).toMatchObject({
      kind: "invalid",
      reason: "the certificate has no name of the kind uri",
    });
    expect(subjectOf(await (await open({ subject: "dns" })).authenticate(overTls(certificate)))).toBe(forged);
  });

  test.each([
    ["a NUL", "admin.internal\0.evil.example"],
    ["a line break", "admin.internal\nURI:x"],
    ["a DEL", "admin.internal\x7f"],
    ["a C1 control", "admin\x85"],
  ])("%s in any of its names makes a certificate unusable", async (_, forged) => {
    const certificate = await issue({ commonName: "orders", names: [{ type: "dns", value: forged }] });
    for (const subject of ["dns", "commonName"] as const)
      expect(await (await open({ subject })).authenticate(overTls(certificate))).toEqual({
        kind: "invalid",
        reason: "the certificate has a name that cannot be used",
      });
  });

  test.each([
    ["a comma and another part", "orders, CN=admin"],
    ["a plus and another value", "orders + CN=admin"],
    ["a slash and another part", "orders/CN=admin"],
    ["a backslash at its end", "orders\\"],
    ["letters beyond ASCII", "Bestellungen Köln"],
  ])("a common name with %s stays one name", async (_, commonName) => {
    const certificate = await issue({ commonName });
    expect(subjectOf(await (await open()).authenticate(overTls(certificate)))).toBe(commonName);
  });

  test("a common name with a line break is not two", async () => {
    const certificate = await issue({ commonName: "orders\nCN=admin" });
    expect(await (await open()).authenticate(overTls(certificate))).toMatchObject({ kind: "invalid" });
  });

  test("the issuer's name cannot forge a part of itself", async () => {
    const certificate = await (await createCa("a,CN=b + O=c\nCN=d")).issue({ commonName: "orders" });
    const outcome = await (await open()).authenticate(overTls(certificate.x509));
    expect(outcome).toMatchObject({
      user: { claims: { issuer: "O=Example\\, Inc.,CN=a\\,CN=b \\+ O=c\\0ACN=d" } },
    });
  });
});

describe("the Client-Cert field of a proxy in front (RFC 9440)", () => {
  const from = ["10.0.0.0/8", "2001:db8::/32"];
  const MALFORMED = { kind: "invalid", reason: "the Client-Cert field is not a certificate" };

  test.each(["10.0.0.7", "2001:db8::7"])("is believed from %s", async (address) => {
    const request = withFields([fieldOf(aClient)], address);
    expect(subjectOf(await (await open({ from })).authenticate(request))).toBe("orders");
  });

  test.each(["11.0.0.7", "2001:db9::7", "unknown"])("does not count from %s", async (address) => {
    expect(await (await open({ from })).authenticate(withFields([fieldOf(aClient)], address))).toEqual({
      kind: "not-mine",
      reason: "the peer is not one that is believed",
    });
  });

  test("a request without it is somebody for another authenticator", async () => {
    expect(await (await open({ from })).authenticate(withFields([]))).toEqual({
      kind: "not-mine",
      reason: "the request has no Client-Cert field",
    });
  });

  test("two are refused, also equal ones", async () => {
    const field = fieldOf(aClient);
    expect(await (await open({ from })).authenticate(withFields([field, field]))).toEqual({
      kind: "invalid",
      reason: "there is more than one Client-Cert field",
    });
  });

  test("the certificate of the proxy's own connection is not the caller's", async () => {
    const request = { ...overTls(aClient), peer: { ...overTls(aClient).peer, address: PROXY } };
    expect(await (await open({ from })).authenticate(request)).toMatchObject({ kind: "not-mine" });
  });

  test("without `from` it is not read at all", async () => {
    expect(await (await open()).authenticate(withFields([fieldOf(aClient)]))).toMatchObject({
      kind: "not-mine",
    });
  });

  const base64 = aClient.raw.toString("base64");
  test.each([
    ["an empty field", ""],
    ["empty bytes", "::"],
    ["no colons", base64],
    ["a colon missing at the end", `:${base64}`],
    ["a string instead of bytes", `"${base64}"`],
    ["two in a list", `:${base64}:, :${base64}:`],
    ["a parameter", `:${base64}:;a=1`],
    ["a space inside", `: ${base64}:`],
    ["base64 for URLs", `:${Buffer.from([0xfb, 0xff, 0xbf]).toString("base64url")}:`],
    ["padding that is missing", `:${Buffer.from("a").toString("base64").replaceAll("=", "")}:`],
    ["bits in the padding", `:${base64.slice(0, 4)}MB==:`],
    ["no certificate", `:${Buffer.from("hello").toString("base64")}:`],
    ["a truncated certificate", `:${aClient.raw.subarray(0, -1).toString("base64")}:`],
    [
      "bytes behind the certificate",
      `:${Buffer.concat([aClient.raw, Buffer.from([0])]).toString("base64")}:`,
    ],
    ["two certificates", `:${Buffer.concat([aClient.raw, aClient.raw]).toString("base64")}:`],
    ["a certificate in PEM", `:${Buffer.from(aClient.toString()).toString("base64")}:`],
    ["PEM in the way of nginx", encodeURIComponent(aClient.toString())],
  ])("%s is refused", async (_, value) => {
    expect(await (await open({ from })).authenticate(withFields([value]))).toEqual(MALFORMED);
  });

  test("callers are told apart, however often and in whatever order they come", async () => {
    const other = await issue({ commonName: "billing" });
    const authenticator = await open({ from });
    const subjects = [aClient, other, aClient, other].map(async (certificate) =>
      subjectOf(await authenticator.authenticate(withFields([fieldOf(certificate)]))),
    );
    expect(await Promise.all(subjects)).toEqual(["orders", "billing", "orders", "billing"]);
  });

  test("it is a credential, and so is the chain beside it", async () => {
    expect((await open({ from })).place).toEqual({ fields: ["client-cert", "client-cert-chain"] });
  });
});
