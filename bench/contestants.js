import { fileURLToPath } from "node:url";
import { API_KEY_FIELDS, CASES, serveCommand } from "./countersign.js";
import { reverseProxyCommand, scriptModule, signingProxyCommand } from "./nginx.js";
import { findProgram } from "./processes.js";

const nginx = findProgram("nginx");
const signingNginx = nginx === undefined || scriptModule === undefined ? undefined : nginx;

const FRESH = "signs each";
const KEPT = "token kept";

/** The name of the one that the others are compared with. */
export const LIMIT = "bare";

/**
 * Everyone who is measured, by name. `commandLine(folder, {port, adminPort, upstream, privateKeyFile})` is what starts it;
 * `missing` what would have to be installed first. With `isPeer` it needs the packages in bench/peers; with
 * `isCountersign` its keys are those of its JWK Set. `headers` are what its clients send.
 */
export const CONTESTANTS = [
  { name: LIMIT, title: "bare undici, fixed field", commandLine: scriptCommand("bare-undici.js") },
  {
    name: "nginx",
    title: "nginx, fixed field",
    missing: nginx === undefined ? "nginx" : undefined,
    commandLine: (folder, addresses) => reverseProxyCommand(nginx, folder, addresses),
  },
  {
    name: "nginx-njs",
    title: `nginx + njs, ES256, ${FRESH}`,
    missing: signingNginx === undefined ? "nginx with njs" : undefined,
    commandLine: (folder, addresses) => signingProxyCommand(nginx, folder, addresses),
  },
  ...peer("http-proxy-3", "http-proxy-3 + jose"),
  ...peer("fastify", "@fastify/http-proxy + fast-jwt"),
  ...peer("express", "express + http-proxy-middleware + jsonwebtoken"),
  countersign("countersign", "default policy, token reused", CASES.reused),
  countersign(
    "countersign-policies",
    "100 policies, API key, log, metrics, reused",
    CASES.policies,
    API_KEY_FIELDS,
  ),
  countersign("countersign-eddsa", `EdDSA, ${FRESH}`, CASES.eddsa),
  countersign("countersign-es256", `ES256, ${FRESH}`, CASES.es256),
  countersign("countersign-rs256", `RS256, ${FRESH}`, CASES.rs256),
];

function peer(name, title) {
  const file = `peers/${name}.js`;
  return [
    { name, title: `${title}, ES256, ${FRESH}`, isPeer: true, commandLine: scriptCommand(file, "fresh") },
    {
      name: `${name}-kept`,
      title: `${title}, ${KEPT}`,
      isPeer: true,
      commandLine: scriptCommand(file, "kept"),
    },
  ];
}

function countersign(name, title, settings, headers = {}) {
  return {
    name,
    title: `Countersign: ${title}`,
    isCountersign: true,
    hasMetrics: settings.admin !== false,
    headers,
    commandLine: (folder, addresses) => serveCommand(folder, addresses, settings),
  };
}

function scriptCommand(file, mode) {
  const program = fileURLToPath(new URL(file, import.meta.url));
  return (_folder, { port, upstream, privateKeyFile }) =>
    [process.execPath, program, String(port), upstream, privateKeyFile, mode].filter(Boolean);
}
