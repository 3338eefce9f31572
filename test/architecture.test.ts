import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const SOURCE = fileURLToPath(new URL("../src", import.meta.url));

/** What each layer may import from: itself and the layers named here. A file in src/ itself is a layer of its own. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  "errors.ts": [],
  "package-folder.ts": [],
  "version.ts": ["package-folder.ts"],
  "duration.ts": [],
  "node-http.ts": [],
  "bounded-queue.ts": [],
  "whole-file.ts": [],
  "refresh.ts": ["errors.ts"],
  "watched-files.ts": ["refresh.ts", "errors.ts"],
  issuer: [
    "package-folder.ts",
    "whole-file.ts",
    "refresh.ts",
    "bounded-queue.ts",
    "duration.ts",
    "errors.ts",
  ],
  policy: ["issuer", "watched-files.ts", "refresh.ts", "bounded-queue.ts", "errors.ts"],
  gateway: ["policy", "issuer", "watched-files.ts", "refresh.ts", "node-http.ts", "errors.ts"],
  admin: ["gateway", "policy", "issuer", "errors.ts"],
  observability: ["gateway", "policy", "issuer", "version.ts", "errors.ts"],
  // It knows the option types of the layers that it fills.
  config: ["observability", "gateway", "policy", "issuer", "package-folder.ts", "duration.ts", "errors.ts"],
  "shared-resources.ts": [],
  "policy-event.ts": ["refresh.ts"],
  "create-issuer.ts": ["config", "issuer", "errors.ts"],
  "open-routes.ts": ["policy-event.ts", "config", "gateway", "policy", "issuer", "shared-resources.ts"],
  "sidecar-api.ts": ["policy-event.ts", "config", "observability", "gateway", "issuer", "refresh.ts"],
  "service.ts": ["open-routes.ts", "config", "gateway", "issuer"],
  "sidecar.ts": [
    "sidecar-api.ts",
    "service.ts",
    "open-routes.ts",
    "shared-resources.ts",
    "refresh.ts",
    "config",
    "admin",
    "observability",
    "gateway",
    "policy",
    "issuer",
    "errors.ts",
  ],
  "index.ts": [
    "sidecar.ts",
    "sidecar-api.ts",
    "policy-event.ts",
    "create-issuer.ts",
    "config",
    "observability",
    "gateway",
    "policy",
    "issuer",
    "errors.ts",
  ],
  cli: [
    "sidecar.ts",
    "sidecar-api.ts",
    "open-routes.ts",
    "policy-event.ts",
    "package-folder.ts",
    "version.ts",
    "config",
    "observability",
    "gateway",
    "policy",
    "issuer",
    "whole-file.ts",
    "refresh.ts",
    "duration.ts",
    "node-http.ts",
    "errors.ts",
  ],
};

const files = readdirSync(SOURCE, { recursive: true, encoding: "utf8" }).filter((file) =>
  file.endsWith(".ts"),
);

function layerOf(file: string): string {
  return file.split("/")[0] ?? file;
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(SOURCE, file), "utf8");
  const specifiers = [...text.matchAll(/(?:from|import)\s*\(?"(\.[^"]+)"/g)].map(([, specifier]) =>
    String(specifier),
  );
  return specifiers.map((specifier) => relative(SOURCE, join(SOURCE, dirname(file), specifier)));
}

test("every file of src belongs to a layer", () => {
  expect(files.map(layerOf).filter((layer) => !(layer in MAY_IMPORT))).toEqual([]);
});

test("imports point one way: cli, sidecar, gateway and admin, policy, issuer, errors", () => {
  const wrong = files.flatMap((file) => {
    const layer = layerOf(file);
    const allowed = [layer, ...(MAY_IMPORT[layer] ?? [])];
    return importsOf(file)
      .filter((imported) => !allowed.includes(layerOf(imported)))
      .map((imported) => `${file} imports ${imported}`);
  });
  expect(wrong).toEqual([]);
});

test("values of node:http are taken from node-http.ts, which says why", () => {
  const wrong = files.filter((file) =>
    /^import (?!type ).* from "node:http";$/m.test(readFileSync(join(SOURCE, file), "utf8")),
  );
  expect(wrong).toEqual([]);
});

test("no imports go in a circle", () => {
  const graph = new Map(files.map((file) => [file, importsOf(file)]));
  const done = new Set<string>();
  const visit = (file: string, way: readonly string[]): void => {
    if (done.has(file)) return;
    expect(way, "a circle").not.toContain(file);
    for (const imported of graph.get(file) ?? []) visit(imported, [...way, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
});
