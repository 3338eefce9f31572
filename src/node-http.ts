/**
 * `node:http`. An `import` of a value from it would make Node.js look at all that it exports, and so load its own copy of
 * undici for the WebSocket that is among it: time and memory at every start, for what nobody uses here.
 */
export const http = process.getBuiltinModule("node:http");
