import { createLocalJWKSet, jwtVerify } from "jose";
import { expect } from "vitest";
import { canonicalFieldName } from "../../src/gateway/field-names.ts";
import { type RawBackend, startRawBackend } from "../support/raw-backend.ts";
import { sendRaw, statusesOf } from "../support/raw-client.ts";
import { startSidecar, type TestSidecar } from "../support/sidecar.ts";

/** The rig of every test here: a sidecar whose token goes into X-Service-Token, before a recorder of raw bytes. */
export interface Rig extends AsyncDisposable {
  readonly sidecar: TestSidecar;
  readonly backend: RawBackend;
  /** Sends an attack byte by byte as it is; gives the statuses that came back, in order. */
  send(bytes: string): Promise<number[]>;
  /** Expects exactly these request lines at the backend, each request with one token field that verifies. */
  expectForwarded(...requestLines: string[]): Promise<void>;
}

export const TOKEN_FIELD = "x-service-token";

const YAML = `
token: {headerName: X-Service-Token, tokenPrefix: "", audience: backend}
policies:
  - {name: open, match: {path: /open}, token: none}
  - {name: rest}
`;

export async function startRig(yaml = YAML): Promise<Rig> {
  const backend = await startRawBackend();
  const sidecar = await startSidecar(backend.url, { yaml });
  const keys = createLocalJWKSet({ keys: [...sidecar.issuer.jwks().keys] });
  return {
    sidecar,
    backend,
    send: async (bytes) => statusesOf(await sendRaw(sidecar.port, bytes, 1500)),

    async expectForwarded(...requestLines) {
      expect(backend.requestLines()).toEqual(requestLines);
      for (const head of headsOf(backend.received())) {
        const lines = head.split("\r\n").slice(1);
        const tokens = lines.filter((line) => canonicalFieldName(line.split(":")[0] ?? "") === TOKEN_FIELD);
        expect(tokens).toHaveLength(1);
        await jwtVerify(tokens[0]?.split(": ")[1] ?? "", keys, { audience: "backend" });
      }
    },

    async [Symbol.asyncDispose]() {
      await sidecar.close();
      await backend[Symbol.asyncDispose]();
    },
  };
}

/** The header section of each request in a recording. */
function headsOf(received: string): string[] {
  return received
    .split(/(?=^[A-Z]+ \S+ HTTP\/1\.1\r$)/m)
    .map((request) => request.split("\r\n\r\n")[0] ?? "");
}
