// Clients that do nothing wrong, and look at every answer: at its status, at the configuration that its token was made with,
// and at the signatures of some.
import { Agent, get } from "node:http";
import { ECHO_PATH } from "../backend.js";
import { API_KEY_FIELDS } from "../countersign.js";
import { pause } from "./pause.js";

const CLIENTS = 8;
const PAUSE_MILLISECONDS = 10;
const VERIFIED_EVERY = 4;
/** More URLs than tokens are remembered, each of which is an audience. */
const URLS = 20_000;

/** Runs them until `signal` is aborted. `reloads` says which configurations a token may be of. */
export async function runCheckedClients({ port, verifier, reloads, tally, signal }) {
  const agent = new Agent({ keepAlive: true });
  let asked = 0;
  const run = async () => {
    while (!signal.aborted) {
      const number = asked++;
      const request = requestOf(number, port);
      const oldest = reloads.oldest;
      try {
        const { status, body } = await send(agent, port, request);
        if (status !== 200) throw new Error(`answered with ${status}: ${body}`);
        const { generation } = verifier.claimsOf(body);
        if (!(generation >= oldest && generation <= reloads.newest))
          throw new Error(`made with configuration ${generation}, and not ${oldest} to ${reloads.newest}`);
        // Of each kind of request in turn, as there are three.
        if (number % VERIFIED_EVERY === 0) await verifier.verify(body, request.audience);
      } catch (error) {
        tally.add(`checked client: ${error.code ?? error.name}`, `${request.path}: ${error.message}`);
      }
      await pause(PAUSE_MILLISECONDS, signal);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, run));
  agent.destroy();
  return asked;
}

/** Most have an audience of their own; the others get the token of the load, or one that is signed for them alone. */
function requestOf(number, port) {
  const orders = { path: ECHO_PATH, headers: API_KEY_FIELDS, audience: "https://orders.internal" };
  if (number % 3 === 0) return orders;
  const path = number % 3 === 1 ? `/urls/${number % URLS}` : `/signed/${number % URLS}`;
  return { path, audience: `http://127.0.0.1:${port}${path}` };
}

async function send(agent, port, { path, headers }) {
  const { promise, resolve, reject } = Promise.withResolvers();
  get({ agent, host: "127.0.0.1", port, path, headers, timeout: 10_000 }, (response) => {
    let body = "";
    response.setEncoding("utf8");
    response.on("data", (piece) => {
      body += piece;
    });
    response.once("end", () => resolve({ status: response.statusCode, body }));
    response.once("error", reject);
  })
    .once("error", reject)
    .once("timeout", function fail() {
      this.destroy(new Error("no answer in time"));
    });
  return await promise;
}
