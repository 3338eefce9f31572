import { expect, test } from "vitest";
import { fieldNameOf } from "../../src/gateway/field-names.ts";

test.each([
  ["Host", "host", "host", true],
  ["X_Forwarded_For", "x-forwarded-for", "forwarding", false],
  ["X-FORWARDED-Anything", "x-forwarded-anything", "forwarding", true],
  ["forwarded", "forwarded", "forwarding", true],
  ["X.Request.Id", "x-request-id", "request-id", false],
  ["Proxy-Authorization", "proxy-authorization", "connection", true],
  ["content_length", "content-length", "content-length", false],
  ["Content-Type", "content-type", "message", true],
])("%s is read as %s: %s", (name, canonical, kind, isPlain) => {
  expect(fieldNameOf(name)).toEqual({ canonical, kind, isPlain });
});

test("one spelling says nothing of another, whichever comes first", () => {
  const names = ["x_user", "x-user", "X-User", "X-Tenant", "x_tenant", "x-tenant"];
  for (const name of names) expect(fieldNameOf(name).isPlain).toBe(!name.includes("_"));
});

test("whoever makes up names without end changes nothing of what the others mean", () => {
  for (let i = 0; i < 5000; i++) {
    expect(fieldNameOf(`made-up-${i}`)).toEqual({
      canonical: `made-up-${i}`,
      kind: "message",
      isPlain: true,
    });
    expect(fieldNameOf("Connection").kind).toBe("connection");
  }
  const long = `${"x_".repeat(5000)}y`;
  expect(fieldNameOf(long).canonical).toBe(long.replaceAll("_", "-"));
});
