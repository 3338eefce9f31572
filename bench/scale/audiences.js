import { scrapeOf } from "../../test/support/metrics.ts";
import { getRequest } from "../http-load.js";
import { ask } from "../requests.js";
import { growthOf } from "./growth.js";
import { openUnderLoad } from "./under-load.js";

/** More than so many tokens are not kept, whatever is asked for next. */
const KEPT_TOKENS = 10_000;

/** URLs, and so audiences, that are asked for one after another: where they are more than the tokens that are kept, none is found. */
export const audiences = {
  name: "audiences",
  title: "Audiences, asked for in turn",
  sizeTitle: "audiences",
  sizes: [1, 10, 100, 1000, 10_000, 20_000, 100_000],
  columns: [
    { heading: "tokens reused, %", of: ({ reusedShare }) => (reusedShare * 100).toFixed(0) },
    { heading: "RSS MB", of: ({ memoryMegabytes }) => memoryMegabytes.toFixed(0) },
  ],
  open: async (size, context) => {
    const requestOf = (index) => getRequest(`/orders/${index % size}`);
    // With the counters of tokens.
    const opened = await openUnderLoad(context, { log: { level: "warn" } }, { requestOf });
    let before;
    const warmUp = async (most) => {
      await opened.warmUp(most);
      // What is to be found must have been asked for once.
      await opened.send({ requests: Math.min(size, KEPT_TOKENS) });
      before = await tokenCounts(opened);
    };
    const facts = async () => {
      const after = await tokenCounts(opened);
      const reused = after.reused - before.reused;
      return { reusedShare: reused / (reused + after.signed - before.signed) };
    };
    return { ...opened, warmUp, facts };
  },
  /** Two series in one: what is found, and what is not. */
  conclude: (points) => {
    const found = points.filter(({ reusedShare }) => reusedShare > 0.5);
    const signed = points.filter(({ reusedShare }) => reusedShare <= 0.5);
    const [lastFound, lastSigned] = [found, signed].map((part) => part.at(-1));
    if (lastFound === undefined || lastSigned === undefined) return growthOf(points);
    const growth = signed.length > 1 ? ` ${growthOf(signed)} at` : "";
    const times = (lastSigned.ratio / lastFound.ratio).toFixed(1);
    return `${growthOf(found)} up to ${lastFound.size}; beyond it${growth} ${times}×: each is signed`;
  },
};

async function tokenCounts({ adminPort }) {
  const { body } = await ask(adminPort, "/metrics");
  const of = (outcome) => scrapeOf(body).total("countersign_tokens_total", { outcome });
  return { reused: of("reused"), signed: of("signed") };
}
