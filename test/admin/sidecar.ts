import {
  type CloseOptions,
  createSidecar,
  type Issuer,
  parseConfig,
  type SidecarOptions,
} from "../../src/index.ts";

/** A sidecar in this process with an operators' listener, both on ports of their own. */
export interface AdminSidecar extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** `undefined` where the configuration has none. */
  readonly adminUrl: string | undefined;
  /** 0 where there is none. */
  readonly adminPort: number;
  readonly issuer: Issuer;
  close(options?: CloseOptions): Promise<void>;
}

/** What a test sidecar takes: the YAML below `listen`, `upstream` and `issuer`, and the options of a sidecar. */
export interface AdminSidecarOptions extends SidecarOptions {
  readonly yaml: string;
  readonly upstream?: string;
}

/** Starts a sidecar whose configuration is `yaml`. Where it does not say otherwise, keys are ephemeral and operators connect to 127.0.0.1. */
export async function startAdminSidecar({
  yaml,
  upstream = "http://127.0.0.1:9",
  ...options
}: AdminSidecarOptions): Promise<AdminSidecar> {
  const defaults = {
    listen: "127.0.0.1:0",
    admin: "127.0.0.1:0",
    upstream,
    issuer: "{keys: {ephemeral: true}}",
  };
  const lines = Object.entries(defaults).filter(([key]) => !new RegExp(`^${key}:`, "m").test(yaml));
  const text = `${lines.map(([key, value]) => `${key}: ${value}\n`).join("")}${yaml}\n`;
  const sidecar = createSidecar(parseConfig(text, { file: "sidecar.yaml", env: {} }).config, options);
  const { url, adminUrl, issuer } = await sidecar.start();
  return {
    url,
    port: Number(new URL(url).port),
    adminUrl,
    adminPort: adminUrl === undefined ? 0 : Number(new URL(adminUrl).port),
    issuer,
    close: sidecar.close,
    [Symbol.asyncDispose]: () => sidecar.close(),
  };
}
