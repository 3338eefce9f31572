#!/usr/bin/env node
// Plain old syntax: an older Node.js must get as far as the message below.
var wanted = [24, 9];
var running = process.versions.node.split(".").map(Number);

if (running[0] > wanted[0] || (running[0] === wanted[0] && running[1] >= wanted[1])) {
  import("../dist/cli/main.js").then((cli) => cli.main(process.argv));
} else {
  console.error(
    "countersign: needs Node.js " +
      wanted.join(".") +
      " or newer, and this is " +
      process.version +
      ".\n" +
      "Install a current Node.js from https://nodejs.org, or run it with one from npm:\n" +
      "  " +
      ["npx -y -p node@26 node"].concat(process.argv.slice(1)).join(" "),
  );
  process.exitCode = 1;
}
