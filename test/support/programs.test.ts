import { afterEach, expect, test, vi } from "vitest";
import { requireProgram } from "./programs.ts";

const MISSING = { probe: ["/nonexistent/program"], note: "a program is needed" } as const;
const PRESENT = { probe: [process.execPath, "--version"], note: "Node.js is needed" } as const;

afterEach(() => vi.unstubAllEnvs());

test("a test whose program is missing is skipped with the note", () => {
  vi.stubEnv("CI", "");
  const skip = vi.fn();
  requireProgram({ skip }, MISSING);
  expect(skip).toHaveBeenCalledExactlyOnceWith(MISSING.note);
});

test("a test whose program is missing fails where CI is set", () => {
  vi.stubEnv("CI", "true");
  const skip = vi.fn();
  expect(() => requireProgram({ skip }, MISSING)).toThrow(MISSING.note);
  expect(skip).not.toHaveBeenCalled();
});

test("a test whose program is there goes on", () => {
  const skip = vi.fn();
  requireProgram({ skip }, PRESENT);
  expect(skip).not.toHaveBeenCalled();
});
