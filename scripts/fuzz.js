import { spawn } from "node:child_process";

// Runs the fuzz tests for a number of minutes, together: `npm run fuzz -- 10`.

const FUZZ_TESTS = 2;
const minutes = Number(process.argv[2] ?? 10);
if (!(minutes > 0)) {
  console.error("usage: npm run fuzz -- [MINUTES]");
  process.exit(2);
}
const child = spawn("vitest", ["run", "test/advisories/fuzz.test.ts", "--disable-console-intercept"], {
  stdio: "inherit",
  env: { ...process.env, COUNTERSIGN_FUZZ_SECONDS: String((minutes * 60) / FUZZ_TESTS) },
});
child.on("close", (code) => process.exit(code ?? 1));
