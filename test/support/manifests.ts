import { readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
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

/** An object of Kubernetes, as far as all of them are alike. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
}

/** A ConfigMap that Kustomize makes. */
export interface GeneratedConfigMap extends Manifest {
  readonly kind: "ConfigMap";
  /** The texts of its files, by their names. */
  readonly data: Readonly<Record<string, string>>;
}

/** What of a kustomization.yaml is understood here. */
interface Kustomization {
  readonly apiVersion: string;
  readonly kind: string;
  readonly resources: readonly string[];
  readonly configMapGenerator?: readonly {
    readonly name: string;
    readonly files: readonly string[];
    readonly options: { readonly disableNameSuffixHash: true };
  }[];
}

const KUSTOMIZATION_KEYS = ["apiVersion", "kind", "resources", "configMapGenerator"];

/**
 * What `kubectl kustomize` makes of a folder, with its ConfigMaps at the end.
 *
 * @param folder its path from the folder deploy/
 * @throws {Error} where a file is missing, where two objects have one name, and where more of Kustomize is used than this
 *   understands
 */
export function buildKustomization(folder: string): readonly Manifest[] {
  const kustomization = readManifest<Kustomization>(join(folder, "kustomization.yaml"));
  const { apiVersion, kind, resources, configMapGenerator = [] } = kustomization;
  const unknown = Object.keys(kustomization).filter((key) => !KUSTOMIZATION_KEYS.includes(key));
  if (`${apiVersion} ${kind} ${unknown}` !== "kustomize.config.k8s.io/v1beta1 Kustomization ")
    throw new Error(`${folder}: ${apiVersion} ${kind} with ${unknown} is not understood`);
  const manifests = resources.flatMap((name): readonly Manifest[] => {
    const path = join(folder, name);
    return statSync(join(DEPLOY, path)).isDirectory()
      ? buildKustomization(path)
      : [readManifest<Manifest>(path)];
  });
  const generated = configMapGenerator.map(({ name, files, options }): GeneratedConfigMap => {
    if (!options.disableNameSuffixHash)
      throw new Error(`${folder}: ConfigMap ${name} has a name for each version`);
    const data = Object.fromEntries(files.map((file) => [basename(file), readDeployed(join(folder, file))]));
    return { apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data };
  });
  const all = [...manifests, ...generated];
  const names = all.map((manifest) => `${manifest.kind} ${manifest.metadata.name}`);
  if (new Set(names).size < names.length) throw new Error(`${folder}: twice the same of ${names.join(", ")}`);
  return all;
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
