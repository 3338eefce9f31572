import { spawnSync } from "node:child_process";

/** A program that the repository does not bring along. */
export interface Program {
  /** A command that succeeds where the program can be used. */
  readonly probe: readonly [command: string, ...arguments_: string[]];
  /** What is missing, and how to get it. */
  readonly note: string;
}

/** Python with PyJWT. By its path: another python3, without Debian's packages, may come first. */
export const PYTHON = "/usr/bin/python3";

export const PYTHON_WITH_PYJWT: Program = {
  probe: [PYTHON, "-c", "import jwt, cryptography"],
  note: `${PYTHON} with PyJWT is needed: apt-get install python3-jwt python3-cryptography`,
};

export const CURL: Program = { probe: ["curl", "--version"], note: "curl is needed: apt-get install curl" };

export const H2LOAD: Program = {
  probe: ["h2load", "--version"],
  note: "h2load is needed: apt-get install nghttp2-client",
};

export const NETCAT: Program = { probe: ["nc", "-h"], note: "nc is needed: apt-get install netcat-openbsd" };

export const SYSTEMD_ANALYZE: Program = {
  probe: ["systemd-analyze", "--version"],
  note: "systemd-analyze is needed: apt-get install systemd",
};

export const REDIS_SERVER: Program = {
  probe: ["redis-server", "--version"],
  note: "redis-server is needed: apt-get install redis-server",
};

export const C_COMPILER: Program = {
  probe: ["cc", "--version"],
  note: "cc is needed: apt-get install gcc libc6-dev",
};

/** Those of Debian, by their paths: for whoever is not root they are not on the PATH. */
export const NGINX = "/usr/sbin/nginx";
export const HAPROXY = "/usr/sbin/haproxy";
export const APACHE = "/usr/sbin/apache2";

export const NGINX_WITH_NJS: Program = {
  probe: ["sh", "-c", `${NGINX} -v && test -e /usr/lib/nginx/modules/ngx_http_js_module.so`],
  note: `${NGINX} with njs is needed: apt-get install nginx libnginx-mod-http-js`,
};

export const HAPROXY_ALONE: Program = {
  probe: [HAPROXY, "-v"],
  note: `${HAPROXY} is needed: apt-get install haproxy`,
};

export const APACHE_WITH_OPENIDC: Program = {
  probe: ["sh", "-c", `${APACHE} -v && test -e /usr/lib/apache2/modules/mod_auth_openidc.so`],
  note: `${APACHE} with mod_auth_openidc is needed: apt-get install apache2 libapache2-mod-auth-openidc`,
};

/** The part of Vitest's test context that is needed here. */
interface Skippable {
  skip(note: string): void;
}

/**
 * Skips the test where `program` is missing. Where the variable `CI` is set nothing is skipped: the test fails.
 *
 * @throws {Error} when the program is missing and `CI` is set
 */
export function requireProgram(context: Skippable, { probe, note }: Program): void {
  const [command, ...arguments_] = probe;
  if (spawnSync(command, arguments_).status === 0) return;
  if (process.env.CI) throw new Error(note);
  context.skip(note);
}
