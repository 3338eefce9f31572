import { describe, expect, test } from "vitest";
import { checkRuntime } from "../../../src/cli/doctor/runtime.ts";

describe("the Node.js that runs this", () => {
  test.each([
    ["v24.9.0", "2026-12-01", "ok"],
    ["v26.10.0", "2026-12-01", "ok"],
    ["v25.1.0", "2026-12-01", "fail"],
    ["v25.1.0", "2026-05-01", "warn"],
    ["v24.9.0", "2028-03-01", "warn"],
    ["v24.9.0", "2028-05-01", "fail"],
    // A line that the table has not heard of, and a table that nobody has looked at for more than a year.
    ["v27.0.0", "2026-12-01", "warn"],
    ["v26.10.0", "2027-12-01", "warn"],
    ["v27.0.0", "2027-12-01", "warn"],
  ])("%s on %s: %s", (version, date, state) => {
    const [finding] = checkRuntime(version, Date.parse(date));
    expect(finding).toMatchObject({ check: "runtime", state, found: expect.stringContaining(version) });
    if (state !== "ok") expect(finding?.remedy).toContain("https://nodejs.org");
  });

  test("an old table says how old it is", () => {
    expect(checkRuntime("v26.10.0", Date.parse("2028-01-01"))[0]?.found).toContain("2026-11-22");
  });
});
