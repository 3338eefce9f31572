import { createRequire } from "node:module";
import { dirname } from "node:path";

/** Where this package stands, the same from its sources and from the program that is made of them. */
export const PACKAGE_FOLDER = dirname(createRequire(import.meta.url).resolve("countersign/package.json"));
