import { expect, test } from "vitest";
import { noteSecret, refuseSecrets } from "./secrets.ts";

test.each([
  ["a token", "x eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhY21lIn0.c2lnbmF0dXJl x"],
  ["a private key", "-----BEGIN PRIVATE KEY-----"],
  ["a private key of a kind", "-----BEGIN EC PRIVATE KEY-----"],
  ["a private JWK", '{"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}'],
  ["a hash of a password", "$scrypt$ln=15"],
  ["a bcrypt hash", "$2b$10$abc"],
  ["a password and its user", "Authorization: Basic YWxhZGRpbjpvcGVuIHNlc2FtZQ=="],
  ["a bearer token that is no JWT", "authorization: Bearer 0123456789abcdef"],
])("%s is seen wherever it stands", (_what, text) => {
  expect(() => refuseSecrets("a line", `before ${text} behind`)).toThrow("a secret is in a line");
});

test("what a test has named is seen, and what nobody has is not", () => {
  const text = 'request by acme: Basic realm="countersign", Bearer realm="countersign"';
  expect(() => refuseSecrets("a line", text)).not.toThrow();
  noteSecret("key-4711-of-acme");
  expect(() => refuseSecrets("a line", `${text} key-4711-of-acme`)).toThrow("a secret is in a line");
});
