import { createSidecar, parseConfig, type ReloadOutcome, type SidecarOptions } from "../../src/index.ts";
import type { Issuer } from "../../src/issuer/issuer.ts";

/** A sidecar whose configuration can be changed. */
export interface ReloadableSidecar extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly adminUrl: string;
  issuer(): Issuer;
  /** Puts another text in the place of the one in use. */
  reload(yaml: string): Promise<ReloadOutcome>;
  /** What `/readyz` says of a check. */
  check(name: string): Promise<{ ready: boolean; reason?: string }>;
  close(): Promise<void>;
}

/** What every text begins with; the ports are taken anew only at the start. */
const FIXED = "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n";

/** Starts a sidecar in this process. `yaml` has at least `upstream`; the signing key is ephemeral unless it says otherwise. */
export async function startReloadable(
  yaml: string,
  options: SidecarOptions = {},
): Promise<ReloadableSidecar> {
  const configOf = (text: string) => {
    const issuer = /^issuer:/m.test(text) ? "" : "issuer: {keys: {ephemeral: true}}\n";
    const fixed = /^listen:/m.test(text) ? "" : FIXED;
    return parseConfig(`${fixed}${issuer}${text}`, { file: "sidecar.yaml", env: options.env }).config;
  };
  const sidecar = createSidecar(configOf(yaml), options);
  const running = await sidecar.start();
  const adminUrl = running.adminUrl as string;
  const close = () => sidecar.close();
  return {
    url: running.url,
    port: Number(new URL(running.url).port),
    adminUrl,
    issuer: () => running.issuer,
    reload: (text) => sidecar.reload(() => configOf(text)),
    async check(name) {
      const response = await fetch(`${adminUrl}/readyz`);
      const { checks } = (await response.json()) as {
        checks: Record<string, { ready: boolean; reason?: string }>;
      };
      return checks[name] as { ready: boolean; reason?: string };
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
