import { Pool } from "undici";
import { reasonOf } from "../../src/errors.ts";

/** Clients that send one request after another, each on a connection that it keeps. */
export interface Load {
  /** How many requests have been answered. */
  answered(): number;
  /** Waits until so many more have been answered. */
  more(requests: number): Promise<void>;
  /** What went wrong, a line each. */
  failures(): readonly string[];
  /** Lets the requests under way end. */
  stop(): Promise<void>;
}

/** Too late for whatever a request has to wait for in a test. */
const TIMEOUT_MILLISECONDS = 10_000;
/** A client that was refused does not try again at once. */
const PAUSE_MILLISECONDS = 20;

/** Starts clients of `url`, whose answer is always 200 "ok". */
export function startLoad(url: string, connections: number): Load {
  const pool = new Pool(url, {
    connections,
    pipelining: 1,
    headersTimeout: TIMEOUT_MILLISECONDS,
    bodyTimeout: TIMEOUT_MILLISECONDS,
  });
  const failures: string[] = [];
  let answered = 0;
  let isStopping = false;

  async function client(): Promise<void> {
    while (!isStopping) {
      try {
        const { statusCode, body } = await pool.request({ path: "/", method: "GET" });
        const text = await body.text();
        if (statusCode === 200 && text === "ok") answered++;
        else failures.push(`${statusCode} ${text}`);
      } catch (error) {
        failures.push(reasonOf(error));
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MILLISECONDS));
      }
    }
  }

  const clients = Array.from({ length: connections }, client);
  return {
    answered: () => answered,
    async more(requests) {
      const wanted = answered + requests;
      while (answered < wanted) await new Promise((resolve) => setTimeout(resolve, 5));
    },
    failures: () => failures,
    async stop() {
      isStopping = true;
      await Promise.all(clients);
      await pool.close();
    },
  };
}
