import type { Config } from "../../config/config.ts";
import { placeOf } from "../ask.ts";
import { healthOf } from "../health.ts";
import { type Finding, fail, ok, warn } from "./finding.ts";

const CHECK = "operators' listener";

/** Asks the operators' listener whether the sidecar is ready. */
export async function checkOperators({ admin }: Pick<Config, "admin">): Promise<Finding[]> {
  if (!admin) return [ok(CHECK, "turned off (admin: false)")];
  const place = placeOf(admin);
  if (!place) return [ok(CHECK, "not asked: the configuration does not say at which port it is")];
  const { url, kind, status, reasons } = await healthOf(place, "/readyz");
  const found = [`${url}: ${status}`, ...reasons].join("; ");
  if (kind === "silent") return [fail(CHECK, found, "start the sidecar: countersign serve")];
  if (kind === "stranger")
    return [fail(CHECK, found, "stop what listens there, or set admin to another address")];
  if (kind === "unwell") return [fail(CHECK, found, "the reasons say what to mend")];
  return [reasons.length === 0 ? ok(CHECK, found) : warn(CHECK, found, "it is ready, but mend this")];
}
