import fc from "fast-check";
import { expect, test } from "vitest";
import { forwardedElement, parseForwarded } from "../../src/gateway/forwarded-field.ts";

const address = fc.oneof(fc.ipV4(), fc.ipV6(), fc.constant("unknown"));
const authority = fc.constantFrom("api.example.com", "api.example.com:8443", "[2001:db8::7]:80", undefined);

test("an element that is written is read as what it says, behind any others", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(address, authority), { minLength: 1 }), (hops) => {
      const line = hops.map(([node, host]) => forwardedElement(node, "https", host)).join(", ");

      const read = parseForwarded(line)?.map(({ parameters }) => Object.fromEntries(parameters));

      expect(read).toEqual(
        hops.map(([node, host]) => ({
          for: node.includes(":") ? `[${node}]` : node,
          proto: "https",
          ...(host !== undefined && { host }),
        })),
      );
    }),
  );
});

test("the texts of the elements make up the line", () => {
  const parts = fc.array(fc.constantFrom("for=a", 'by="b,c;d"', ";", ",", " ", 'x="\\""', "y=1;z=2"));
  fc.assert(
    fc.property(parts, (texts) => {
      const line = texts.join("");
      const elements = parseForwarded(line);

      const texted = elements?.map(({ text }) => text).join(",");
      if (texted !== undefined) expect(parseForwarded(texted)).toEqual(elements);
    }),
  );
});

test.each([
  ["spaces", " ".repeat(1_000_000)],
  ["separators", ";,".repeat(500_000)],
  ["an open quote", `for="${"a".repeat(1_000_000)}`],
  ["escapes", `for="${"\\a".repeat(500_000)}`],
  ["a name", "a".repeat(1_000_000)],
  ["spaces before nothing", `for=a${" ".repeat(1_000_000)}b`],
])("a long line of %s is read in no time", (_, line) => {
  const begin = performance.now();

  parseForwarded(line);

  // A way of reading that looks back takes minutes for this.
  expect(performance.now() - begin).toBeLessThan(2000);
});
