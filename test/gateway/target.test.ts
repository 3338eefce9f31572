import { describe, expect, test } from "vitest";
import { AMBIGUITIES, parseTarget } from "../../src/gateway/target.ts";

describe("a plain target is forwarded byte for byte", () => {
  test.each([
    ["/", "/"],
    ["/orders/42?q=1&r=%2f%00", "/orders/42"],
    ["/caf%C3%A9", "/café"],
    ["/caf%c3%a9/", "/café/"],
    ["/%6frders", "/orders"],
    ["/users/%40me", "/users/@me"],
    ["/.well-known/x", "/.well-known/x"],
    ["/a.b/..c/d..", "/a.b/..c/d.."],
    ["/100%25", "/100%"],
    ["/a:b@c!$&'()*+,=~_-", "/a:b@c!$&'()*+,=~_-"],
    ['/a"b<c>^`{|}', '/a"b<c>^`{|}'],
    ["/path?a//b/../c;d", "/path"],
  ])("%s", (requestTarget, decodedPath) => {
    expect(parseTarget(requestTarget, [])).toEqual({
      kind: "target",
      target: { originForm: requestTarget, decodedPath, lenientPath: decodedPath, authority: undefined },
    });
  });
});

test.each([
  ["http://example.com/orders?q", "/orders?q", "example.com"],
  ["HTTP://example.com:81/", "/", "example.com:81"],
  ["https://example.com", "/", "example.com"],
  ["http://example.com?q", "/?q", "example.com"],
])("the absolute form %s is forwarded in origin form", (requestTarget, originForm, authority) => {
  expect(parseTarget(requestTarget, [])).toMatchObject({ kind: "target", target: { originForm, authority } });
});

describe("an ambiguous path is refused", () => {
  test.each([
    "/a//b",
    "//example.com/a",
    "/a%2fb",
    "/a%2Fb",
    "/a%5cb",
    "/a/..",
    "/a/../b",
    "/a/./b",
    "/.",
    "/%2e%2e/b",
    "/a/.%2E/b",
    "/a%252fb",
    "/a%25252fb",
    "/a%255cb",
    "/%252e%252e/b",
    "/a%2500b",
    "/a%00b",
    "/a%0d%0ab",
    "/a;b",
    "/..;/b",
    "/..%3b/b",
    "/a/%2e%2e;x=1/b",
    "/a%2f..%2fb",
    "/%25252525252525252f",
  ])("%s", (requestTarget) => {
    expect(parseTarget(requestTarget, [])).toMatchObject({ kind: "refused", code: "ERR_TARGET_AMBIGUOUS" });
  });
});

describe("what is no request target is refused", () => {
  test.each([
    "*",
    "",
    "orders",
    "example.com:443",
    "ftp://example.com/",
    "/a#b",
    "/a?b#c",
    "/a b",
    "/a\\b",
    "/a%",
    "/a%2",
    "/a%zz",
    "/a%u0041",
    "/caf\xe9",
    "/caf%e9",
    "/%c0%af",
    "/a\x00b",
    "/a\x7fb",
  ])("%j", (requestTarget) => {
    expect(parseTarget(requestTarget, [])).toMatchObject({ kind: "refused", code: "ERR_TARGET_INVALID" });
  });
});

describe("what allowInPath lets through has two readings, the plain and the most lenient one", () => {
  test.each([
    ["/a%2fb", "encodedSlash", "/a%2Fb", "/a/b"],
    ["/a%5cb", "encodedBackslash", "/a%5Cb", "/a/b"],
    ["/a%252fb", "encodedSlash", "/a%2fb", "/a/b"],
    ["/a//b", "emptySegment", "/a/b", "/a/b"],
    ["//a", "emptySegment", "/a", "/a"],
    ["/a;x=1/b;y", "pathParameters", "/a/b", "/a/b"],
    ["/%C3%A9%2F%C3%A9", "encodedSlash", "/é%2Fé", "/é/é"],
  ] as const)("%s with %s", (requestTarget, kind, decodedPath, lenientPath) => {
    const others = AMBIGUITIES.filter((other) => other !== kind);
    expect(parseTarget(requestTarget, [kind])).toMatchObject({
      kind: "target",
      target: { originForm: requestTarget, decodedPath, lenientPath },
    });
    expect(parseTarget(requestTarget, others)).toMatchObject({ kind: "refused" });
  });

  test.each([
    "/a/../b",
    "/%2e%2e/b",
    "/a%00b",
    "/a%2f..%2fb",
    "/a%5c..%5cb",
    "/..;x/b",
    "/a/%252e%252e/b",
    "/%zz",
  ])("nothing lifts %s", (requestTarget) => {
    expect(parseTarget(requestTarget, AMBIGUITIES)).toMatchObject({ kind: "refused" });
  });
});
