import type { Command } from "commander";
import { sidecarJsonSchema } from "../config/json-schema.ts";
import { policyTestsJsonSchema } from "../config/policy-test-file.ts";

/** `countersign schema`: the JSON Schema of `sidecar.yaml`. */
export function addSchemaCommand(program: Command): Command {
  return program
    .command("schema")
    .summary("print the JSON Schema of sidecar.yaml")
    .description(
      "Prints the JSON Schema of sidecar.yaml, with which an editor completes keys and marks mistakes.",
    )
    .option("--policy-tests", "print that of *.policy-test.yaml instead")
    .action(({ policyTests }: { readonly policyTests?: true }) =>
      console.log(JSON.stringify(policyTests ? policyTestsJsonSchema() : sidecarJsonSchema(), undefined, 2)),
    );
}
