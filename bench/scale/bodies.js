import { PLAIN } from "../countersign.js";
import { getRequest } from "../http-load.js";
import { openUnderLoad } from "./under-load.js";

const SIZES = [0, 1e3, 1e4, 1e5, 1e6, 1e7];
/** Few: each of them may have a whole body on its way. */
const CONNECTIONS = 8;

/** Bodies that clients send. */
export const requestBodies = series("request-bodies", "Body of the request", (size) => {
  const head = `POST /orders/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${size}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), Buffer.alloc(size, "x")]);
});

/** Bodies that the backend sends. */
export const responseBodies = series("response-bodies", "Body of the answer", (size) =>
  getRequest(`/orders/${size}`),
);

function series(name, title, requestFor) {
  return {
    name,
    title,
    sizeTitle: "bytes",
    sizes: SIZES,
    columns: [
      {
        heading: "CPU µs a MB",
        of: ({ size, microseconds }) => (size === 0 ? "" : (microseconds / (size / 1e6)).toFixed(0)),
      },
    ],
    open: (size, { folder, bodyUpstream }) => {
      const request = requestFor(size);
      const load = { requestOf: () => request, connections: CONNECTIONS, path: "/orders/0" };
      return openUnderLoad({ folder, upstream: bodyUpstream }, PLAIN, load);
    },
  };
}
