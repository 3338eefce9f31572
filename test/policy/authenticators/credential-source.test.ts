import { describe, expect, test } from "vitest";
import {
  type CredentialSource,
  findCredential,
} from "../../../src/policy/authenticators/credential-source.ts";
import { requestWith } from "./support.ts";

const ABSENT = "the request has no such credential";
const EMPTY = "the credential is empty";
const TWICE = "there is more than one credential";

/** What is found at a source: the credential in quotes, or why there is none. */
function found(source: CredentialSource, rawFields: readonly string[], target = "/"): string {
  const answer = findCredential(requestWith(rawFields, target), source);
  if (answer.kind === "found") return JSON.stringify(answer.credential);
  if (answer.kind === "user") throw new Error("a source knows nobody");
  return `${answer.kind}: ${answer.reason}`;
}

describe("a field with a scheme", () => {
  const source = { kind: "header", name: "authorization", scheme: "Token" } as const;

  test.each([
    ["Token abc", '"abc"'],
    ["TOKEN abc", '"abc"'],
    ["token   abc", '"abc"'],
    ["Token\tabc", '"abc"'],
    ["Token a b\tc", '"a b\\tc"'],
    ["Token Token abc", '"Token abc"'],
    ["Token", `invalid: ${EMPTY}`],
    ["Token \t", `invalid: ${EMPTY}`],
    ["Tokenabc", "not-mine: the credential is not of the scheme Token"],
    ["Token,abc", "not-mine: the credential is not of the scheme Token"],
    ["Bearer Token abc", "not-mine: the credential is not of the scheme Token"],
    ["", "not-mine: the credential is not of the scheme Token"],
  ])("%j", (value, expected) => {
    expect(found(source, ["Authorization", value])).toBe(expected);
  });

  test("is absent, or there is more than one", () => {
    expect(found(source, [])).toBe(`not-mine: ${ABSENT}`);
    expect(found(source, ["X-Authorization", "Token abc"])).toBe(`not-mine: ${ABSENT}`);
    expect(found(source, ["authorization", "Token a", "AUTHORIZATION", "Token b"])).toBe(`invalid: ${TWICE}`);
    expect(found(source, ["authorization", "Other a", "authorization", "Other b"])).toBe(`invalid: ${TWICE}`);
  });

  test("is read in time that grows with its length alone", () => {
    const before = performance.now();
    found(source, ["authorization", `Token${" \t".repeat(50_000)}a${" \t".repeat(50_000)}a`]);
    expect(performance.now() - before).toBeLessThan(1000);
  });
});

describe("a field without a scheme", () => {
  const source = { kind: "header", name: "x-api-key", scheme: undefined } as const;

  test.each([
    ["abc", '"abc"'],
    ["Token abc", '"Token abc"'],
    ["a,b", '"a,b"'],
    ["", `invalid: ${EMPTY}`],
  ])("%j", (value, expected) => {
    expect(found(source, ["X-Api-Key", value])).toBe(expected);
  });

  test("is refused where there is more than one, of which one may be empty", () => {
    expect(found(source, ["x-api-key", "a", "x-api-key", ""])).toBe(`invalid: ${TWICE}`);
  });
});

describe("a parameter of the query", () => {
  const source = { kind: "query", name: "api key" } as const;

  test.each([
    ["/", `not-mine: ${ABSENT}`],
    ["/?", `not-mine: ${ABSENT}`],
    ["/api%20key=a", `not-mine: ${ABSENT}`],
    ["/?api+key=abc", '"abc"'],
    ["/?api%20key=abc", '"abc"'],
    ["/?%61pi+key=abc", '"abc"'],
    ["/?a=1&api+key=abc&b=2", '"abc"'],
    ["/?&&api+key=abc", '"abc"'],
    ["/?api+key=a+b%2Bc%3D%C3%A9", '"a b+c=é"'],
    ["/?api+key=a=b", '"a=b"'],
    ["/?api+key=a?b", '"a?b"'],
    ["/?a;api+key=abc", `not-mine: ${ABSENT}`],
    ["/?API+KEY=abc", `not-mine: ${ABSENT}`],
    ["/?api+key=", `invalid: ${EMPTY}`],
    ["/?api+key", `invalid: ${EMPTY}`],
    ["/?api+key=a&api+key=a", `invalid: ${TWICE}`],
    ["/?api+key=a&api%20key=b", `invalid: ${TWICE}`],
    ["/?api+key=&api+key=b", `invalid: ${TWICE}`],
  ])("%s", (target, expected) => {
    expect(found(source, [], target)).toBe(expected);
  });
});

describe("a cookie", () => {
  const source = { kind: "cookie", name: "key" } as const;

  test.each([
    ["key=abc", '"abc"'],
    ["a=b; key=abc; c=d", '"abc"'],
    ["a=b;key=abc", '"abc"'],
    ["a=b;\t key = abc \t; c", '"abc"'],
    ['key="abc"', '"abc"'],
    ['key="', '"\\""'],
    ['key="a"b"', '"a\\"b"'],
    ["key=a=b==", '"a=b=="'],
    ["key=a%20b", '"a%20b"'],
    [";;key=abc;", '"abc"'],
    ["key=", `invalid: ${EMPTY}`],
    ['key=""', `invalid: ${EMPTY}`],
    ["key", `not-mine: ${ABSENT}`],
    ["", `not-mine: ${ABSENT}`],
    ["Key=abc", `not-mine: ${ABSENT}`],
    ["monkey=abc", `not-mine: ${ABSENT}`],
    ["a=key=abc", `not-mine: ${ABSENT}`],
    ["=abc", `not-mine: ${ABSENT}`],
    ["key=a; key=a", `invalid: ${TWICE}`],
    ["key=; key=a", `invalid: ${TWICE}`],
  ])("%j", (value, expected) => {
    expect(found(source, ["Cookie", value])).toBe(expected);
  });

  test("may stand in one of several fields, as HTTP/2 divides them, and in one alone", () => {
    expect(found(source, ["cookie", "a=b", "cookie", "key=abc"])).toBe('"abc"');
    expect(found(source, ["cookie", "key=a", "Cookie", "key=b"])).toBe(`invalid: ${TWICE}`);
  });
});
