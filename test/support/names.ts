import dns from "node:dns";
import { vi } from "vitest";

/** In the place of the system's name servers. */
export interface TestNames extends Disposable {
  /** How often the name was asked for. */
  lookups(): number;
}

/** Answers each question for `backend.test` with the next of `answers`, and from then on with the last. */
export function resolveNames(...answers: readonly (readonly string[])[]): TestNames {
  const real = dns.lookup;
  let count = 0;
  const lookup = (
    name: string,
    options: dns.LookupAllOptions,
    done: (...result: readonly unknown[]) => void,
  ) => {
    if (name !== "backend.test") return real(name, options, done as never);
    const addresses = answers[Math.min(count, answers.length - 1)] as readonly string[];
    count += 1;
    const found = addresses.map((address) => ({ address, family: 4 }));
    if (options.all) process.nextTick(done, null, found);
    else process.nextTick(done, null, found[0]?.address, found[0]?.family);
  };
  const spy = vi.spyOn(dns, "lookup").mockImplementation(lookup as never);
  return {
    lookups: () => count,
    [Symbol.dispose]: () => spy.mockRestore(),
  };
}
