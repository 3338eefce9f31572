import { afterEach, expect, test, vi } from "vitest";
import { RequestContext, type RequestFacts } from "../../src/gateway/request-facts.ts";

afterEach(() => vi.restoreAllMocks());

test("a query is read once, however many references there are to it", () => {
  const facts = { target: `/?${"a&".repeat(7000)}last=1` } as RequestFacts;
  const context = new RequestContext(facts, undefined);
  const read = vi.spyOn(globalThis, "URLSearchParams");
  for (let i = 0; i < 20; i++) expect(context.query(`missing${i}`)).toBeUndefined();
  expect(context.query("last")).toBe("1");
  expect(read).toHaveBeenCalledTimes(1);
});
