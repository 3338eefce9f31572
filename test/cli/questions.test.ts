import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Questions } from "../../src/cli/questions.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("a question that is under way is not put again, and its answer is everybody's", async () => {
  const send = vi.fn();
  const questions = new Questions(send);
  const answers = [questions.ask(), questions.ask()];
  expect(send).toHaveBeenCalledTimes(1);
  questions.answer("one");
  expect(await Promise.all(answers)).toEqual(["one", "one"]);
  const next = questions.ask();
  expect(send).toHaveBeenCalledTimes(2);
  questions.answer("two");
  expect(await next).toBe("two");
});

test("who gets no answer in time is told so, and an answer that comes late is nobody's", async () => {
  const questions = new Questions(() => {});
  const unanswered = expect(questions.ask()).rejects.toMatchObject({ code: "ERR_METRICS_UNAVAILABLE" });
  await vi.advanceTimersByTimeAsync(5000);
  await unanswered;
  questions.answer("late");
  const next = questions.ask();
  questions.answer("in time");
  expect(await next).toBe("in time");
});
