import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Agent, request } from "undici";
import type { Random } from "../../issuer/keys/random.ts";
import { BASE_PATH, TOKEN_FIELDS, type TokenSource } from "./configuration.ts";
import type { Replica } from "./running-replica.ts";

/** An answer 200. */
export interface Answer {
  readonly body: Buffer;
  /** Who gave it. */
  readonly replica: number;
}

/** What stands in front of a fleet, and gives each request to a replica at random. */
export interface Front extends AsyncDisposable {
  /** The issuer: verifiers find the JWK Set below it. */
  readonly issuer: string;
  /** Asks one, and where that one cannot answer the next; `undefined` where none can. */
  ask(source: TokenSource): Promise<Answer | undefined>;
  /** How many answers there were with each status, and connections that broke (0). */
  readonly statuses: ReadonlyMap<number, number>;
}

const JWK_SET: TokenSource = { listener: "url", path: `${BASE_PATH}/.well-known/jwks.json` };
const RETRY_MILLISECONDS = 20;
const PATIENCE_MILLISECONDS = 20_000;

/** Opens it in front of what is in `replicas` by then. */
export async function openFront(replicas: readonly Replica[], random: Random): Promise<Front> {
  const statuses = new Map<number, number>();
  const dispatcher = new Agent({ connections: 16 });

  async function askOne(replica: Replica, { listener, path }: TokenSource): Promise<Answer | undefined> {
    const addresses = replica.addresses();
    if (!addresses) return undefined;
    let status = 0;
    try {
      const response = await request(addresses[listener] + path, { dispatcher, headers: TOKEN_FIELDS });
      const body = Buffer.from(await response.body.arrayBuffer());
      status = response.statusCode;

      return status === 200 ? { body, replica: replica.index } : undefined;
    } catch {
      // It was killed.
      return undefined;
    } finally {
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  }

  async function ask(source: TokenSource): Promise<Answer | undefined> {
    const first = random.integer(0, replicas.length - 1);
    for (const replica of [...replicas.slice(first), ...replicas.slice(0, first)]) {
      const answer = await askOne(replica, source);
      if (answer) return answer;
    }
    return undefined;
  }

  /** Verifiers wait: what cannot be fetched is not a token that is refused. */
  async function jwkSet(): Promise<Buffer> {
    for (const end = Date.now() + PATIENCE_MILLISECONDS; Date.now() < end; await sleep(RETRY_MILLISECONDS)) {
      const answer = await ask(JWK_SET);
      if (answer) return answer.body;
    }
    throw new Error("no replica had a JWK Set");
  }

  const server = createServer(async (_request, response) => {
    try {
      const body = await jwkSet();
      response.setHeader("content-type", "application/json").end(body);
    } catch {
      response.writeHead(503).end();
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    issuer: `http://127.0.0.1:${(server.address() as AddressInfo).port}${BASE_PATH}`,
    ask,
    statuses,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await dispatcher.destroy();
    },
  };
}
