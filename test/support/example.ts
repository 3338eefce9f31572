import { spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import type { SigningAlgorithm } from "../../src/issuer/algorithms.ts";
import { AUDIENCE, startTokenSidecar, type TokenSidecar } from "./tokens.ts";

/** How an example is started, from the folder `examples`: `["/usr/bin/python3", "python/server.py"]`. */
export type ExampleCommand = readonly [program: string, ...arguments_: string[]];

/** A backend from `examples`, in a process of its own, behind a sidecar. */
export interface RunningExample extends AsyncDisposable {
  /** The backend's own URL, past the sidecar. */
  readonly url: string;
  readonly sidecar: TokenSidecar;
}

/** Starts a sidecar that signs with `algorithm`, and behind it the example, which trusts that sidecar. */
export async function startExample(
  command: ExampleCommand,
  algorithm: SigningAlgorithm,
): Promise<RunningExample> {
  await using started = new AsyncDisposableStack();
  const relay = started.use(await startRelay());
  const sidecar = started.use(await startTokenSidecar(relay.url, algorithm));
  const backend = started.use(await spawnExample(command, sidecar.issuer.url));
  relay.connectTo(Number(new URL(backend.url).port));
  const running = started.move();
  return { url: backend.url, sidecar, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

async function spawnExample([program, ...arguments_]: ExampleCommand, issuer: string) {
  const child = spawn(program, arguments_, {
    cwd: fileURLToPath(new URL("../../examples", import.meta.url)),
    env: { ...process.env, PORT: "0", ISSUER: issuer, AUDIENCE },
  });
  let output = "";
  const url = await new Promise<string>((resolve, reject) => {
    const read = (data: Buffer) => {
      output += data;
      const match = /http:\/\/127\.0\.0\.1:\d+(?=\s)/.exec(output);
      if (match) resolve(match[0]);
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", reject);
    child.on("close", () => reject(new Error(`the example ended before it listened:\n${output}`)));
  });
  return {
    url,
    async [Symbol.asyncDispose]() {
      child.kill();
      if (child.exitCode === null && child.signalCode === null) await once(child, "close");
    },
  };
}

/**
 * A TCP port that stands for another one. The sidecar has to know its upstream and the example its issuer, each
 * before it starts, and neither has a port until then.
 */
async function startRelay() {
  let targetPort = 0;
  const sockets = new Set<Socket>();
  const server = createServer((from) => {
    const to = connect(targetPort, "127.0.0.1");
    for (const [socket, other] of [
      [from, to],
      [to, from],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => other.destroy());
      socket.pipe(other);
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    connectTo(port: number) {
      targetPort = port;
    },
    async [Symbol.asyncDispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, "close");
    },
  };
}
