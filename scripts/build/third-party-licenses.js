import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * A plugin for rolldown that writes down what packages the program is made of, each with its version and its license, whose
 * text has to go wherever the package goes.
 *
 * @param {string} fileName beside what is made
 */
export function thirdPartyLicenses(fileName) {
  return {
    name: "third-party-licenses",
    generateBundle(_options, bundle) {
      const modules = Object.values(bundle).flatMap(({ moduleIds = [] }) => moduleIds);
      const folders = new Set(modules.flatMap((id) => PACKAGE.exec(id)?.[0] ?? []));
      const source = [...folders]
        .sort()
        .map(noticeOf)
        .join(`\n${"-".repeat(80)}\n\n`);
      this.emitFile({ type: "asset", fileName, source });
    },
  };
}

/** The folder of the package that a module belongs to. */
const PACKAGE = /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/;

/** The texts of packages that leave theirs in their repository, by the name of the package; relative to this file. */
const TEXTS_BY_PACKAGE = { "@redis/client": "licenses/redis-client.txt" };

function noticeOf(folder) {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const files = readdirSync(folder)
    .filter((file) => /^(?:licen[cs]e|notice|copying)/i.test(file))
    .map((file) => join(folder, file));
  const elsewhere = TEXTS_BY_PACKAGE[name];
  if (files.length === 0 && elsewhere) files.push(join(import.meta.dirname, elsewhere));
  const texts = files.map((file) => readFileSync(file, "utf8").trim());
  if (!license || texts.length === 0)
    throw new Error(`${name} ${version} comes without the text of a license`);
  return `${[`${name} ${version} (${license})`, ...texts].join("\n\n")}\n`;
}
