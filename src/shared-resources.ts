/** What an open resource is closed with. */
type Close = () => void | Promise<void>;

interface Entry {
  readonly resource: Promise<unknown>;
  /** Set when it is open. */
  close: Close | undefined;
  users: number;
}

/**
 * Things that are opened once for each description of them, and shared by all who use that: a configuration that takes
 * the place of another one goes on with what is the same in both.
 */
export class SharedResources {
  readonly #entries = new Map<string, Entry>();

  /**
   * Gives the resource that is known by `identity`; opens it where nobody uses it yet.
   *
   * @throws {Error} what `open` throws; then it is not in use
   */
  async acquire<T>(identity: string, open: () => Promise<T>, close: (resource: T) => void | Promise<void>) {
    const known = this.#entries.get(identity);
    const entry: Entry = known ?? { resource: open(), close: undefined, users: 0 };
    entry.users++;
    if (!known) this.#entries.set(identity, entry);
    try {
      const resource = (await entry.resource) as T;
      entry.close ??= () => close(resource);
      return resource;
    } catch (error) {
      this.#entries.delete(identity);
      throw error;
    }
  }

  /** Says that one user less needs it; closes it behind the last. */
  async release(identity: string): Promise<void> {
    const entry = this.#entries.get(identity);
    if (!entry || --entry.users > 0) return;
    this.#entries.delete(identity);
    await entry.close?.();
  }

  /** Closes everything, whoever uses it. */
  async close(): Promise<void> {
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    await Promise.all(entries.map(({ close }) => close?.()));
  }
}
