import { z } from "zod";
import { sidecarSchema } from "./schema.ts";

/** The JSON Schema (draft 2020-12) of `sidecar.yaml`, for editors. */
export function sidecarJsonSchema(): Record<string, unknown> {
  return {
    title: "sidecar.yaml",
    description: "The configuration of the Countersign sidecar.",
    ...z.toJSONSchema(sidecarSchema, { io: "input", target: "draft-2020-12" }),
  };
}
