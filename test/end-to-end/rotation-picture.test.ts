import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { drawFleet } from "../../scripts/fleet-timeline.ts";
import { drawRotation } from "../../scripts/rotation-timeline.ts";

test("the picture in docs/keys.md shows the times that keys are rotated by: node scripts/rotation-timeline.ts", () => {
  const drawn = drawRotation();
  expect(readFileSync(new URL("../../docs/rotation.svg", import.meta.url), "utf8")).toBe(drawn);
  expect(drawn).toContain("published for 28 h 1 min");
  expect(drawn).toContain("signs, 30 days");
  expect(drawn).toContain("key 1 stays for 3 h 5 min: its last token (1 h)");
});

test("the picture in docs/fleet.md shows the times that replicas go by: node scripts/fleet-timeline.ts", () => {
  const drawn = drawFleet();
  expect(readFileSync(new URL("../../docs/fleet.svg", import.meta.url), "utf8")).toBe(drawn);
  expect(drawn).toContain("after 27 h 56 min C relies no more");
  expect(drawn).toContain("28 h 2 min after it was stored");
});
