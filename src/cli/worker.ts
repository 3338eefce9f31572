// What node:cluster runs in a worker process.
import { enableCompileCache } from "node:module";

// Compiled code is kept between runs, which makes a start faster.
enableCompileCache();
const { runWorker } = await import("./run-worker.ts");
runWorker();
