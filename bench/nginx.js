import { copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const SCRIPT_MODULES = [
  "/usr/lib/nginx/modules/ngx_http_js_module.so",
  "/usr/lib64/nginx/modules/ngx_http_js_module.so",
];

/** The module that lets nginx run scripts; undefined where it is not installed. */
export const scriptModule = SCRIPT_MODULES.find((file) => existsSync(file));

/**
 * Writes a configuration of nginx with one worker process and no access log into `folder`, which is made.
 *
 * @returns {string[]} its command line
 */
export function nginxCommand(nginx, folder, { before = "", http }) {
  mkdirSync(folder, { recursive: true });
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  writeFileSync(
    join(folder, "nginx.conf"),
    `${before}
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  ${temporary.map((name) => `${name}_temp_path ${name}_temp;`).join(" ")}
  ${http}
}
`,
  );
  return [nginx, "-p", `${folder}/`, "-e", "error.log", "-c", "nginx.conf"];
}

/** nginx as a reverse proxy that keeps its connections and sets a fixed field. */
export function reverseProxyCommand(nginx, folder, { port, upstream }) {
  return nginxCommand(nginx, folder, {
    http: `${upstreamSection(upstream)}
  server {
    listen 127.0.0.1:${port};
    location / { ${forwardWith("Bearer fixed")} }
  }`,
  });
}

/** The same with a token by njs in the field, signed with ES256 for every request. */
export function signingProxyCommand(nginx, folder, { port, upstream, privateKey }) {
  mkdirSync(folder, { recursive: true });
  const der = privateKey.export({ type: "pkcs8", format: "der" });
  writeFileSync(join(folder, "key.js"), `export default ${JSON.stringify(der.toString("base64"))};\n`, {
    mode: 0o600,
  });
  copyFileSync(
    fileURLToPath(new URL("peers/nginx-signs.js", import.meta.url)),
    join(folder, "nginx-signs.js"),
  );
  return nginxCommand(nginx, folder, {
    before: `load_module ${scriptModule};`,
    http: `js_path "${folder}";
  js_import tokens from nginx-signs.js;
  ${upstreamSection(upstream)}
  server {
    listen 127.0.0.1:${port};
    set $token "";
    location / { js_content tokens.sign; }
    location @backend { ${forwardWith("Bearer $token")} }
  }`,
  });
}

function upstreamSection(upstream) {
  return `upstream backend { server ${new URL(upstream).host}; keepalive 128; keepalive_requests 1000000000; }`;
}

function forwardWith(authorization) {
  return [
    "proxy_pass http://backend;",
    "proxy_http_version 1.1;",
    'proxy_set_header Connection "";',
    "proxy_set_header Host $http_host;",
    `proxy_set_header Authorization "${authorization}";`,
  ].join(" ");
}
