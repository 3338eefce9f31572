import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmodSync, cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { decodeJwt } from "jose";
import { expect } from "vitest";
import type { SigningAlgorithm } from "../../src/issuer/algorithms.ts";
import { type RecordedRequest, startBackend } from "./backend.ts";
import { temporaryFolder } from "./command-line.ts";
import type { RunningExample } from "./example.ts";
import { freePort } from "./free-port.ts";
import { AUDIENCE, startTokenSidecar, type TokenSidecarOptions } from "./tokens.ts";

/** A web server of `examples`, configured by the files of one folder. */
export interface ServerExample {
  /** Below `examples`. */
  readonly folder: string;
  /** Run in a copy of the folder, before the server, to its end. */
  readonly prepare?: readonly [program: string, ...arguments_: string[]];
  /** Run in the copy; it stays in the foreground. */
  command(folder: string): readonly [program: string, ...arguments_: string[]];
}

/** A web server of `examples` behind a sidecar, and an application behind the web server. */
export interface RunningServerExample extends RunningExample {
  /** What got through to the application, in order. */
  readonly arrived: RecordedRequest[];
  /** Where the server's files are. */
  readonly folder: string;
  readonly pid: number;
}

/**
 * Starts a sidecar that signs with `algorithm`, behind it the web server, and behind that an application, which answers
 * with the caller that the server told it. The files are those of the example, but for the addresses in them.
 */
export async function startServerExample(
  example: ServerExample,
  algorithm: SigningAlgorithm,
  { keys }: TokenSidecarOptions = {},
): Promise<RunningServerExample> {
  await using started = new AsyncDisposableStack();
  const folder = started.use(temporaryFolder());
  const application = started.use(await startApplication());
  const port = await freePort();
  const innerPort = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const sidecar = started.use(await startTokenSidecar(url, algorithm, { keys }));
  copyFiles(example.folder, folder.path, {
    "http://127.0.0.1:8080/__issuer": sidecar.issuer.url,
    "127.0.0.1:9000": `127.0.0.1:${port}`,
    "127.0.0.1:9001": `127.0.0.1:${application.port}`,
    "127.0.0.1:9002": `127.0.0.1:${innerPort}`,
  });
  if (example.prepare) expect(await runToEnd(example.prepare, folder.path)).toMatchObject({ code: 0 });
  const { pid } = started.use(await startServer(example.command(folder.path), folder.path, port));
  const running = started.move();
  return {
    url,
    sidecar,
    arrived: application.arrived,
    folder: folder.path,
    pid,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** Claims that the application is told who is calling by the server alone, whatever the client says. */
export async function expectCallerIsTheTokens({ sidecar, arrived }: RunningServerExample): Promise<void> {
  const headers = { "x-caller": "root", x_caller: "root", "x.caller": "root" };
  expect((await fetch(`${sidecar.url}/orders`, { headers })).status).toBe(200);
  const { rawHeaders = [] } = arrived.at(-1) ?? {};
  const callers = rawHeaders.filter((_, i) => /^x[-_.]caller$/i.test(rawHeaders[i - 1] ?? ""));
  expect(callers).toEqual(["api-gateway"]);
}

/** Claims that a body of two megabytes arrives whole. */
export async function expectBodyArrives({ sidecar, arrived }: RunningServerExample): Promise<void> {
  const body = randomBytes(2 * 1024 * 1024);
  expect((await fetch(`${sidecar.url}/orders`, { method: "POST", body })).status).toBe(200);
  expect(arrived.at(-1)?.body.equals(body)).toBe(true);
}

/** Claims that a caller whose name has line breaks in it makes no header of its own. */
export async function expectSubjectIsNoHeader(example: RunningServerExample): Promise<void> {
  const { sidecar, url, arrived } = example;
  const { length } = arrived;
  for (const subject of ["alice\r\nX-Admin: true", "alice\n"]) {
    const token = await sidecar.issuer.signJwt({ subject, audience: AUDIENCE, expiresIn: 60 });
    const response = await fetch(`${url}/orders`, { headers: { authorization: `Bearer ${token}` } });
    expect(response.status).toBe(401);
  }
  expect(arrived).toHaveLength(length);
}

/** An application that believes what the web server says, and keeps what it gets. */
async function startApplication() {
  const arrived: RecordedRequest[] = [];
  const backend = await startBackend(async (request, response) => {
    const { method = "", url = "", headers, rawHeaders } = request;
    arrived.push({ method, url, headers, rawHeaders, body: await buffer(request) });
    const token = headers.authorization?.replace("Bearer ", "") ?? "";
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ hello: headers["x-caller"], claims: decodeJwt(token) }));
  });
  return { ...backend, arrived };
}

function copyFiles(example: string, folder: string, addresses: Readonly<Record<string, string>>): void {
  cpSync(fileURLToPath(new URL(`../../examples/${example}`, import.meta.url)), folder, { recursive: true });
  // A server that is started by root gives that up, and has to read its files all the same.
  chmodSync(folder, 0o755);
  for (const name of readdirSync(folder)) {
    const file = join(folder, name);
    const places = new RegExp(Object.keys(addresses).join("|"), "g");
    writeFileSync(
      file,
      readFileSync(file, "utf8").replaceAll(places, (place) => addresses[place] ?? place),
    );
  }
}

/** Runs a program of an example to its end. */
export async function runToEnd(
  [program, ...arguments_]: readonly [string, ...string[]],
  folder: string,
): Promise<{ readonly code: number | null; readonly output: string }> {
  const child = spawn(program, arguments_, { cwd: folder });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (data) => {
      output += data;
    });
  const [code] = (await once(child, "close")) as [number | null];
  return { code, output };
}

async function startServer(
  [program, ...arguments_]: readonly [string, ...string[]],
  folder: string,
  port: number,
) {
  const child = spawn(program, arguments_, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (data) => {
      output += data;
    });
  const ended = once(child, "close");
  // A run that is cut short has nothing else to stop it with.
  const stop = () => child.kill();
  process.once("exit", stop);
  void ended.then(() => process.off("exit", stop));
  while (!(await isListening(port))) {
    if (child.exitCode === null && child.signalCode === null) await setTimeout(20);
    else throw new Error(`${program} ended before it listened:\n${output}`);
  }
  return {
    pid: child.pid as number,
    async [Symbol.asyncDispose]() {
      stop();
      await ended;
    },
  };
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
