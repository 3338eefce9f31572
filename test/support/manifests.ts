import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";

/** The folder of what people deploy with. */
export const DEPLOY = fileURLToPath(new URL("../../deploy", import.meta.url));

/** The text of a file. @param name its path from the folder deploy/ */
export function readDeployed(name: string): string {
  return readFileSync(join(DEPLOY, name), "utf8");
}

/**
 * What a manifest says, in YAML 1.1: that is what Kubernetes reads, and there `0440` is octal.
 *
 * @param name its path from the folder deploy/
 */
export function readManifest<Shape>(name: string): Shape {
  return parse(readDeployed(name), { version: "1.1", merge: true }) as Shape;
}

/** A line of a Containerfile, such as `COPY` and `bin bin`; lines that are continued are one. */
export interface Instruction {
  readonly name: string;
  readonly text: string;
}

/** The stages of the Containerfile, in order, each from its FROM on. */
export function imageStages(): readonly (readonly Instruction[])[] {
  const lines = readDeployed("container/Containerfile")
    .replaceAll(/^\s*#.*\n/gm, "")
    .replaceAll("\\\n", " ");
  const stages: Instruction[][] = [];
  for (const [, name = "", text = ""] of lines.matchAll(/^([A-Z]+)[ \t]+(.*)$/gm)) {
    if (name === "FROM") stages.push([]);
    stages.at(-1)?.push({ name, text: text.replaceAll(/\s+/g, " ").trim() });
  }
  return stages;
}

/** The arguments of an instruction in its JSON form, which needs no shell. @throws {Error} where there is no such line */
export function execForm(stage: readonly Instruction[], name: string): readonly string[] {
  const text = stage.findLast((instruction) => instruction.name === name)?.text ?? "";
  const [json] = /\[.*\]$/.exec(text) ?? [];
  if (json === undefined) throw new Error(`${name} is not in its JSON form: ${text}`);
  return JSON.parse(json) as string[];
}
