import { readFileSync } from "node:fs";

const packageJson = readFileSync(new URL("../package.json", import.meta.url), "utf8");

/** The version in package.json. */
export const VERSION: string = JSON.parse(packageJson).version;
