import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";

/** A process that is stopped with its queue of connections full: the kernel leaves further ones without an answer. */
export async function startStoppedBackend(): Promise<{ readonly url: string } & AsyncDisposable> {
  const program =
    "require('net').createServer().listen({port: 0, host: '127.0.0.1', backlog: 1}, function () { console.log(this.address().port) })";
  const child = spawn(process.execPath, ["-e", program]);
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const port = Number(line);
  child.kill("SIGSTOP");
  const queued = Array.from({ length: 8 }, () => connect(port, "127.0.0.1").on("error", () => {}));
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of queued) socket.destroy();
      child.kill("SIGKILL");
      await once(child, "close");
    },
  };
}
