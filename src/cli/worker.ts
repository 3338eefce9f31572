// What node:cluster runs in a worker process.
import { runWorker } from "./run-worker.ts";

runWorker();
