import { reasonOf } from "../../../errors.ts";
import type { Watch } from "../../../refresh.ts";
import { KeyError } from "../key-error.ts";
import { StoreUnreachable } from "../store.ts";
import { openRedisClient, PATIENCE_MILLISECONDS, type RedisClient } from "./redis-client.ts";
import { describePlace, type RedisOptions } from "./redis-options.ts";

/** A way to Redis that finds itself again. */
export interface RedisConnection {
  /** What it leads to, for messages. */
  readonly name: string;
  /**
   * Runs a script (EVAL).
   *
   * @throws {StoreUnreachable} ERR_KEY when there is no answer, or one that may be another later
   * @throws {KeyError} ERR_KEY when Redis refuses this client
   */
  evaluate(script: string, keys: readonly string[], values: readonly string[]): Promise<unknown>;
  /**
   * Calls `changed` for each message, and whenever there may have been one that nobody heard: when it begins to listen, and
   * when it does so again.
   */
  subscribe(channel: string, changed: () => void): Watch;
  close(): Promise<void>;
}

/** Answers that no time will mend, and what whoever configured this has to see to. */
const REFUSALS = [
  {
    pattern:
      /^(?:WRONGPASS|NOAUTH|NOPERM|ERR (?:invalid password|Client sent AUTH|AUTH |unknown command .?AUTH))|the user executing the script can't|ACL failure in script/i,
    remedy: "see username and password, and what the ACL allows them",
  },
  { pattern: /WRONGTYPE/, remedy: "what is there is not a key ring; use another prefix" },
  { pattern: /NOSCRIPT|unknown command .?EVAL/i, remedy: "the ring is read and written by scripts (EVAL)" },
];

/** Opens no connection before something is asked. */
export function createRedisConnection(options: RedisOptions): RedisConnection {
  const name = describePlace(options.place);
  let opening: Promise<RedisClient> | undefined;
  let isClosed = false;

  /** A new one for each failure: after it, another server may be in charge. */
  function drop(failed: Promise<RedisClient>): void {
    if (opening === failed) opening = undefined;
    destroy(failed);
  }

  function clientInUse(): Promise<RedisClient> {
    if (opening) return opening;
    const mine = openRedisClient(options, () => drop(mine));
    opening = mine;
    return mine;
  }

  async function evaluate(script: string, keys: readonly string[], values: readonly string[]) {
    // Work that its user did not wait for would open another one, which nobody closes.
    if (isClosed) throw new StoreUnreachable(name, "the connection is closed");
    const client = clientInUse();
    try {
      const answer = client.then((one) => one.eval(script, { keys: [...keys], arguments: [...values] }));
      return await inTime(answer);
    } catch (cause) {
      drop(client);
      throw errorOf(name, cause);
    }
  }

  return {
    name,
    evaluate,
    subscribe: (channel, changed) => keepSubscribed(options, channel, changed),
    async close() {
      isClosed = true;
      if (opening) drop(opening);
    },
  };
}

/** The least and the most time between two attempts to listen. */
const FIRST_RETRY_MILLISECONDS = 250;
const LAST_RETRY_MILLISECONDS = 5000;

/** Listens on a connection of its own, as it must, and opens another one when it breaks. */
function keepSubscribed(options: RedisOptions, channel: string, changed: () => void): Watch {
  let isClosed = false;
  let current: Promise<RedisClient> | undefined;
  let retry: NodeJS.Timeout | undefined;
  let delay = FIRST_RETRY_MILLISECONDS;

  function listen(): void {
    const mine = openRedisClient(options, () => again(mine));
    current = mine;
    inTime(mine.then((client) => client.subscribe(channel, changed))).then(
      () => {
        delay = FIRST_RETRY_MILLISECONDS;
        // Whatever happened before somebody listened.
        if (current === mine) changed();
      },
      // Whoever reads the ring says what is wrong.
      () => again(mine),
    );
  }

  function again(failed: Promise<RedisClient>): void {
    destroy(failed);
    if (isClosed || current !== failed) return;
    current = undefined;
    retry = setTimeout(listen, delay).unref();
    delay = Math.min(2 * delay, LAST_RETRY_MILLISECONDS);
  }

  listen();
  return {
    close() {
      isClosed = true;
      clearTimeout(retry);
      if (current) destroy(current);
    },
  };
}

/** Ends a client that is open, or will be. */
function destroy(opening: Promise<RedisClient>): void {
  opening.then(
    async (client) => {
      try {
        await client.destroy();
      } catch {
        // It is closed already.
      }
    },
    () => {},
  );
}

async function inTime<T>(answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const fail = () => reject(new Error(`no answer within ${PATIENCE_MILLISECONDS / 1000} s`));
    timer = setTimeout(fail, PATIENCE_MILLISECONDS);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}

function errorOf(name: string, cause: unknown): KeyError {
  if (cause instanceof KeyError) return cause;
  const said = reasonOf(cause);
  // A server that does not know a command repeats what came with it: a password, say.
  const reason = said.replace(/, with args beginning with:.*$/s, "");
  const options = reason === said ? { cause } : {};
  const refusal = REFUSALS.find(({ pattern }) => pattern.test(reason));
  if (refusal) return new KeyError(name, `it refuses this client (${reason}); ${refusal.remedy}`, options);
  return new StoreUnreachable(name, `the key ring cannot be reached: ${reason}`, options);
}
