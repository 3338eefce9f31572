/** What is to happen when, in the order of time. */
export interface Agenda {
  /** @param at is rounded to whole milliseconds, as clocks are */
  add(at: number, action: () => void | Promise<void>): void;
  /** When the next action is due; infinity where there is none. */
  next(): number;
  take(): (() => void | Promise<void>) | undefined;
}

interface Entry {
  readonly at: number;
  readonly action: () => void | Promise<void>;
}

export function createAgenda(): Agenda {
  /** The next is last. Of the same moment, what was added first comes first. */
  const entries: Entry[] = [];
  return {
    add(time, action) {
      const at = Math.round(time);
      let low = 0;
      let high = entries.length;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if ((entries[middle] as Entry).at > at) low = middle + 1;
        else high = middle;
      }
      entries.splice(low, 0, { at, action });
    },
    next: () => entries.at(-1)?.at ?? Number.POSITIVE_INFINITY,
    take: () => entries.pop()?.action,
  };
}
