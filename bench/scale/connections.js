import { readFileSync } from "node:fs";
import { PLAIN } from "../countersign.js";
import { getRequest } from "../http-load.js";
import { openUnderLoad } from "./under-load.js";

const SIZES = [1, 10, 100, 1000, 10_000];
/** What this process and a sidecar need beside these connections. */
const OTHER_FILES = 1000;
const REQUEST = getRequest("/orders/1");

/** Sizes that the limit of open files allows all at once, as this process has them open; the greatest may be cut. */
const sizes = sizesWithin(openFilesLimit() - OTHER_FILES);
const note =
  sizes.at(-1) === SIZES.at(-1)
    ? undefined
    : `No more than ${sizes.at(-1)} connections: the limit of open files is ${openFilesLimit()}. With \`ulimit -n 20000\` there are ${SIZES.at(-1)}.`;

/** Open connections without a request, beside 64 that are busy. */
export const idle = {
  name: "idle",
  title: "Idle connections beside 64 busy ones",
  sizeTitle: "connections",
  sizes,
  note,
  open: (size, context) => openConnected(size, context, { requestOf: () => REQUEST, idle: size }),
};

/** Connections that are used in turn, with one request on its way at a time. */
export const active = {
  name: "active",
  title: "Connections used in turn",
  sizeTitle: "connections",
  sizes,
  note,
  open: (size, context) =>
    openConnected(size, context, { requestOf: () => REQUEST, connections: size, atOnce: 1 }),
};

function openConnected(size, context, load) {
  return openUnderLoad(context, { ...PLAIN, limits: { connections: size + OTHER_FILES } }, load);
}

function sizesWithin(most) {
  const fitting = [];
  let sum = 0;
  for (const size of SIZES) {
    const left = Math.min(size, most - sum);
    if (left > (fitting.at(-1) ?? 0)) fitting.push(left);
    sum += left;
  }
  return fitting;
}

function openFilesLimit() {
  if (process.platform !== "linux") return Number.POSITIVE_INFINITY;
  const [, limit] = /^Max open files +(\S+)/m.exec(readFileSync("/proc/self/limits", "latin1"));
  return limit === "unlimited" ? Number.POSITIVE_INFINITY : Number(limit);
}
