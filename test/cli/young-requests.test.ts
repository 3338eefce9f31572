import { expect, test } from "vitest";
import { startBackend } from "../support/backend.ts";
import { startCommand, temporaryFolder } from "../support/command-line.ts";

/** Runs Node.js so that V8 tells what it thinks of the places that make objects, whenever it collects the young ones. */
const TELLING = ["sh", "-c", 'node=$1; shift; exec "$node" --trace-pretenuring-statistics "$@"', "sh"];

test("V8 puts nothing of a request into the old generation at once, whatever has survived the start", async () => {
  using folder = temporaryFolder();
  await using backend = await startBackend();
  await using sidecar = await startCommand(["serve", "--upstream", backend.url, "--listen", "127.0.0.1:0"], {
    cwd: folder.path,
    under: TELLING,
  });
  const toldBefore = toldIn(sidecar.output().stdout);
  for (let i = 0; i < 100; i++)
    await Promise.all(
      Array.from({ length: 30 }, () => fetch(sidecar.url).then((response) => response.text())),
    );
  const { stdout } = await sidecar.stop();
  expect(toldIn(stdout)).toEqual(toldBefore);
});

function toldIn(output: string): string[] {
  return output.split("\n").filter((line) => line.includes("pretenuring"));
}
