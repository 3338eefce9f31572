import * as undici from "undici";
import { expect, test } from "vitest";

test("what stands for undici in the program is undici's own, each part of it", async () => {
  const { href } = new URL("../scripts/build/undici-parts.js", import.meta.url);
  const parts: Readonly<Record<string, unknown>> = await import(href);
  expect(Object.keys(parts).length).toBeGreaterThan(3);
  for (const [name, part] of Object.entries(parts)) expect(part, name).toBe(Reflect.get(undici, name));
});
