import { type Config, createSidecar, parseConfig, type SidecarOptions } from "../../src/index.ts";
import type { Issuer } from "../../src/issuer/issuer.ts";
import type { CloseOptions } from "../../src/sidecar-api.ts";
import { refuseSecrets } from "./secrets.ts";

/** A sidecar in this process, on a port of its own. */
export interface TestSidecar extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** One of each listener. */
  readonly urls: readonly string[];
  /** `undefined` where the YAML has no `admin`. */
  readonly adminUrl: string | undefined;
  readonly issuer: Issuer;
  readonly config: Config;
  /** What the sidecar told its operator, in order. */
  readonly failures: { readonly code: string; readonly cause: string }[];
  close(options?: CloseOptions): Promise<void>;
}

/** What {@link startSidecar} takes beside the upstream. */
export interface TestSidecarOptions extends Omit<SidecarOptions, "onFailure"> {
  /** Further YAML, below `listen` and `upstream`. Without the key `issuer` the signing key is ephemeral. */
  readonly yaml?: string;
  /** As `serve --issuer-only`. */
  readonly issuerOnly?: boolean;
}

/** Starts a sidecar in front of `upstream`: `await using sidecar = await startSidecar(backend.url)`. */
export async function startSidecar(upstream: string, options: TestSidecarOptions = {}): Promise<TestSidecar> {
  const { yaml = "", issuerOnly, ...sidecarOptions } = options;
  const issuer = /^issuer:/m.test(yaml) ? "" : "issuer: {keys: {ephemeral: true}}\n";
  // One at the default address would be in the way of the next.
  const admin = /^admin:/m.test(yaml) ? "" : "admin: false\n";
  const listen = /^listen:/m.test(yaml) ? "" : "listen: 127.0.0.1:0\n";
  const text = `${listen}${/^upstream:/m.test(yaml) ? "" : `upstream: ${upstream}\n`}${issuer}${admin}${yaml}`;
  const { config } = parseConfig(text, { file: "sidecar.yaml", env: options.env, issuerOnly });
  const failures: TestSidecar["failures"] = [];
  const sidecar = createSidecar(config, {
    ...sidecarOptions,
    onFailure: (failure) => failures.push(failure),
  });
  const running = await sidecar.start();
  const close = async (closeOptions?: CloseOptions) => {
    await lookThrough(running.adminUrl, failures);
    await sidecar.close(closeOptions);
  };
  return {
    url: running.url,
    urls: running.urls,
    port: Number(new URL(running.url).port),
    adminUrl: running.adminUrl,
    issuer: running.issuer,
    config,
    failures,
    close,
    [Symbol.asyncDispose]: () => close(),
  };
}

const PAGES = ["/readyz", "/config", "/metrics"];

/** Whatever a sidecar was used for: its operator is shown no secret. */
async function lookThrough(adminUrl: string | undefined, failures: TestSidecar["failures"]): Promise<void> {
  refuseSecrets("what the operator is told", JSON.stringify(failures));
  if (!adminUrl?.startsWith("http:")) return;
  for (const page of PAGES) {
    const answer = await fetch(`${adminUrl}${page}`, { signal: AbortSignal.timeout(5000) }).catch(
      () => undefined,
    );
    if (answer) refuseSecrets(page, await answer.text());
  }
}
