import { once } from "node:events";
import {
  Client,
  credentials,
  Metadata,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { decodeJwt } from "jose";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { issueForServer, writeTlsFiles } from "../support/certificates.ts";
import { temporaryFolder } from "../support/command-line.ts";
import { startSidecar, type TestSidecar } from "../support/sidecar.ts";
import { ca } from "../support/tls-sidecar.ts";

/** Messages are plain text: what they mean is nothing to a proxy. */
const asText = {
  requestSerialize: (text: string) => Buffer.from(text),
  requestDeserialize: (bytes: Buffer) => bytes.toString(),
  responseSerialize: (text: string) => Buffer.from(text),
  responseDeserialize: (bytes: Buffer) => bytes.toString(),
};

function method(
  name: string,
  requestStream: boolean,
  responseStream: boolean,
): MethodDefinition<string, string> {
  return { path: `/test.Echo/${name}`, requestStream, responseStream, ...asText };
}

const service = {
  unary: method("Unary", false, false),
  fail: method("Fail", false, false),
  hang: method("Hang", false, false),
  collect: method("Collect", true, false),
  count: method("Count", false, true),
  chat: method("Chat", true, true),
} satisfies ServiceDefinition;

/** What the server saw of calls that did not end well. */
const cancelled: string[] = [];
let deadline: Date | number | undefined;

const implementation = {
  unary({ request, metadata }: ServerUnaryCall<string, string>, reply: sendUnaryData<string>) {
    const trailers = new Metadata();
    trailers.set("x-trailer", "at the end");
    trailers.set("x-token", String(metadata.get("authorization")[0]));
    trailers.set("x-bytes-bin", Buffer.from([0, 255]));
    reply(null, `${request} ${metadata.get("x-custom")[0]}`, trailers);
  },
  fail(_call: unknown, reply: sendUnaryData<string>) {
    const trailers = new Metadata();
    trailers.set("x-why", "because");
    reply({ code: status.FAILED_PRECONDITION, details: "not today: \u00e4", metadata: trailers });
  },
  hang(call: ServerUnaryCall<string, string>) {
    deadline = call.getDeadline();
    call.on("cancelled", () => cancelled.push("hang"));
  },
  collect(call: ServerReadableStream<string, string>, reply: sendUnaryData<string>) {
    const parts: string[] = [];
    call.on("data", (part) => parts.push(part));
    call.on("end", () => reply(null, parts.join(",")));
    call.on("cancelled", () => cancelled.push("collect"));
  },
  count(call: ServerWritableStream<string, string>) {
    const most = Number(call.request);
    for (let i = 1; i <= (most || 1); i++) call.write(String(i));
    if (most) call.end();
    else call.on("cancelled", () => cancelled.push("count"));
  },
  chat(call: ServerDuplexStream<string, string>) {
    call.on("data", (text) =>
      text === "stop"
        ? call.emit("error", { code: status.ABORTED, details: "as you like" })
        : call.write(`you said ${text}`),
    );
    call.on("end", () => call.end());
    call.on("cancelled", () => cancelled.push("chat"));
  },
};

describe.each([["h2c"], ["TLS"]])("a gRPC client calls a gRPC server through Countersign over %s", (kind) => {
  const isTls = kind === "TLS";
  const folder = temporaryFolder();
  const server = new Server();
  let sidecar: TestSidecar;
  let client: Client;

  beforeAll(async () => {
    server.addService(service, implementation);
    const own = await issueForServer(ca);
    writeTlsFiles(folder.path, own, ca);
    const port = await new Promise<number>((resolve, reject) => {
      const pair = { private_key: Buffer.from(own.key), cert_chain: Buffer.from(own.cert) };
      const ownCredentials = isTls
        ? ServerCredentials.createSsl(null, [pair])
        : ServerCredentials.createInsecure();
      server.bindAsync("127.0.0.1:0", ownCredentials, (error, port) =>
        error ? reject(error) : resolve(port),
      );
    });
    const file = (name: string) => `${folder.path}/${name}`;
    const url = `http${isTls ? "s" : ""}://127.0.0.1:${port}`;
    const yaml = stringify({
      listen: {
        address: "127.0.0.1:0",
        http2: true,
        ...(isTls && { tls: { cert: file("tls.crt"), key: file("tls.key") } }),
      },
      upstream: { url, http2: true, ...(isTls && { tls: { ca: file("ca.crt") } }) },
    });
    sidecar = await startSidecar(url, { yaml });
    client = new Client(
      `localhost:${sidecar.port}`,
      isTls ? credentials.createSsl(Buffer.from(ca.cert)) : credentials.createInsecure(),
    );
  });

  afterAll(async () => {
    client.close();
    server.forceShutdown();
    await sidecar.close();
    folder[Symbol.dispose]();
  });

  const { path: unaryPath } = service.unary;
  const { requestSerialize: serialize, responseDeserialize: deserialize } = asText;

  function unary(path: string, text: string, options = {}) {
    const metadata = new Metadata();
    metadata.set("x-custom", "metadata");
    const { promise, resolve, reject } = Promise.withResolvers<{ answer: string; trailers: Metadata }>();
    let answer = "";
    const call = client.makeUnaryRequest(
      path,
      serialize,
      deserialize,
      text,
      metadata,
      options,
      (error, value) => {
        if (error) reject(error);
        else answer = value ?? "";
      },
    );
    call.on("status", ({ code, metadata: trailers }) => {
      if (code === status.OK) resolve({ answer, trailers });
    });
    return { call, promise };
  }

  test("unary, with metadata and trailers", async () => {
    const { answer, trailers } = await unary(unaryPath, "hello").promise;

    expect(answer).toBe("hello metadata");
    expect(trailers.get("x-trailer")).toEqual(["at the end"]);
    const token = String(trailers.get("x-token")[0]).replace("Bearer ", "");
    expect(decodeJwt(token).aud).toBe(`http${isTls ? "s" : ""}://localhost:${sidecar.port}${unaryPath}`);
    expect(trailers.get("x-bytes-bin")).toEqual([Buffer.from([0, 255])]);
  });

  test("unary, 200 at once on one connection", async () => {
    const texts = Array.from({ length: 200 }, (_, index) => `n${index}`);

    const answers = await Promise.all(texts.map((text) => unary(unaryPath, text).promise));

    expect(answers.map(({ answer }) => answer)).toEqual(texts.map((text) => `${text} metadata`));
  });

  test("a call that fails has the server's status, details and metadata", async () => {
    const error = await unary(service.fail.path, "x").promise.catch((error: unknown) => error);

    expect(error).toMatchObject({ code: status.FAILED_PRECONDITION, details: "not today: \u00e4" });
    expect((error as { metadata: Metadata }).metadata.get("x-why")).toEqual(["because"]);
  });

  test("a method that the server has not is UNIMPLEMENTED", async () => {
    await expect(unary("/test.Echo/None", "x").promise).rejects.toMatchObject({ code: status.UNIMPLEMENTED });
  });

  test("a stream of the client", async () => {
    const { promise, resolve, reject } = Promise.withResolvers<string | undefined>();
    const call = client.makeClientStreamRequest(
      service.collect.path,
      serialize,
      deserialize,
      (error, value) => (error ? reject(error) : resolve(value)),
    );
    for (const part of ["a", "b", "c"]) call.write(part);
    call.end();

    expect(await promise).toBe("a,b,c");
  });

  test("a stream of the server", async () => {
    const call = client.makeServerStreamRequest(service.count.path, serialize, deserialize, "1000");

    expect(await call.toArray()).toEqual(Array.from({ length: 1000 }, (_, index) => String(index + 1)));
  });

  test("streams both ways at once, turn by turn", async () => {
    const call = client.makeBidiStreamRequest(service.chat.path, serialize, deserialize);
    const said: string[] = [];
    for (const text of ["one", "two", "three"]) {
      call.write(text);
      const [answer] = await once(call, "data");
      said.push(answer);
    }
    call.end();
    call.resume();
    const [{ code }] = await once(call, "status");

    expect(said).toEqual(["you said one", "you said two", "you said three"]);
    expect(code).toBe(status.OK);
  });

  test("a deadline reaches the server, and ends the call", async () => {
    cancelled.length = 0;
    const ends = Date.now() + 500;

    await expect(unary(service.hang.path, "x", { deadline: ends }).promise).rejects.toMatchObject({
      code: status.DEADLINE_EXCEEDED,
    });

    expect(Math.abs(Number(deadline) - ends)).toBeLessThan(400);
    await expect.poll(() => cancelled).toContain("hang");
  });

  test("a call that the client cancels is cancelled at the server", async () => {
    cancelled.length = 0;
    const { call, promise } = unary(service.hang.path, "x");
    const failed = expect(promise).rejects.toMatchObject({ code: status.CANCELLED });
    setTimeout(() => call.cancel(), 100);
    await failed;
    await expect.poll(() => cancelled).toContain("hang");

    const counting = client.makeServerStreamRequest(service.count.path, serialize, deserialize, "endless");
    counting.on("error", () => {});
    await once(counting, "data");
    counting.cancel();
    await expect.poll(() => cancelled).toContain("count");

    const collecting = client.makeClientStreamRequest(service.collect.path, serialize, deserialize, () => {});
    collecting.on("error", () => {});
    collecting.write("a part");
    setTimeout(() => collecting.cancel(), 100);
    await expect.poll(() => cancelled).toContain("collect");
  });

  test("a stream that the server gives up in the middle has the server's status", async () => {
    const call = client.makeBidiStreamRequest(service.chat.path, serialize, deserialize);
    call.on("data", () => {});
    call.write("go on");
    await once(call, "data");
    call.write("stop");

    const [error] = await once(call, "error");

    expect(error).toMatchObject({ code: status.ABORTED, details: "as you like" });
  });
});
