import type { Command } from "commander";
import { sidecarJsonSchema } from "../config/json-schema.ts";

/** `countersign schema`: the JSON Schema of `sidecar.yaml`. */
export function addSchemaCommand(program: Command): Command {
  return program
    .command("schema")
    .summary("print the JSON Schema of sidecar.yaml")
    .description(
      "Prints the JSON Schema of sidecar.yaml, with which an editor completes keys and marks mistakes.",
    )
    .action(() => console.log(JSON.stringify(sidecarJsonSchema(), undefined, 2)));
}
