import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const PROGRAM = fileURLToPath(new URL("../bin/countersign.js", import.meta.url));
const POLICIES = 100;
const API_KEY = "a-key-of-the-measurement";

/** What a client sends to the case with many policies. */
export const API_KEY_FIELDS = { "x-api-key": API_KEY };

/** One policy, the defaults of every key; neither metrics nor a line for each request, as with the peers. */
export const PLAIN = { admin: false, log: { level: "warn" } };

/** The configuration of each case in the budget, but for its addresses. */
export const CASES = {
  reused: PLAIN,
  policies: {
    log: { level: "info", format: "json" },
    authenticators: {
      partners: {
        type: "apiKey",
        header: "X-Api-Key",
        keys: Array.from({ length: POLICIES }, (_, index) => ({
          subject: `partner-${index}`,
          sha256: createHash("sha256")
            .update(index === POLICIES - 1 ? API_KEY : `another-${index}`)
            .digest("hex"),
          claims: { plan: "gold", tenant: `tenant-${index}` },
        })),
      },
    },
    authenticate: ["partners"],
    policies: Array.from({ length: POLICIES }, (_, index) => ({
      name: `policy-${index}`,
      // The last is the one that the requests match.
      match: { path: index === POLICIES - 1 ? "/orders/:id" : `/service-${index}/:id`, methods: ["GET"] },
      token: {
        audience: "https://orders.internal",
        additionalClaims: {
          tenant: "$user(tenant)",
          order: "$param(id)",
          what: "$user(plan) by $request(method)",
        },
      },
    })),
  },
  eddsa: { ...PLAIN, token: { reuse: false } },
  es256: { ...PLAIN, issuer: { algorithm: "ES256" }, token: { reuse: false } },
  rs256: { log: { level: "warn" }, issuer: { algorithm: "RS256" }, token: { reuse: false } },
};

/**
 * Writes the configuration of a case into `folder`, which is made.
 *
 * @param program another build of it
 * @returns {string[]} the command line of the real program
 */
export function serveCommand(folder, addresses, settings, program = PROGRAM) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(configurationFile(folder), configurationText(folder, addresses, settings));
  return commandOf(folder, ["serve"], program);
}

/** The command line of a command that reads the configuration in `folder`. */
export function commandOf(folder, words, program = PROGRAM) {
  return [process.execPath, program, ...words, "-c", configurationFile(folder)];
}

/** Where the configuration of the sidecar in `folder` is. */
export function configurationFile(folder) {
  return join(folder, "sidecar.yaml");
}

/** The configuration of a case; its keys are in `folder`. */
export function configurationText(folder, { port, adminPort, upstream }, { issuer, ...settings }) {
  const { files, redis } = issuer?.keys ?? {};
  const configuration = {
    listen: `127.0.0.1:${port}`,
    admin: `127.0.0.1:${adminPort}`,
    upstream,
    issuer: {
      ...issuer,
      keys: files || redis ? issuer.keys : { ...issuer?.keys, directory: join(folder, "keys") },
    },
    timeouts: { drain: "1s" },
    ...settings,
  };
  // JSON is YAML.
  return JSON.stringify(configuration, null, 2);
}
