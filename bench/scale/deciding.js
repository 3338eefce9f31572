// What a request is compared with: policies, API keys. And the signing keys that are published.
import { createHash, generateKeyPairSync } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PLAIN } from "../countersign.js";
import { getRequest } from "../http-load.js";
import { openUnderLoad } from "./under-load.js";

const PATH = "/orders/1";
const API_KEY = "the-key-of-the-measurement";
const API_KEY_FIELDS = { "x-api-key": API_KEY };

/** Policies that differ in the path; the request matches the last. */
export const policies = {
  name: "policies",
  title: "Policies, by path",
  sizeTitle: "policies",
  sizes: [1, 10, 100, 1000, 5000],
  open: (size, context) => {
    const match = (index) => ({ path: index === size - 1 ? "/orders/:id" : `/service-${index}/:id` });
    return openGet(context, { ...PLAIN, policies: policiesBy(size, match) });
  },
};

/** Policies that differ in the host only; the request matches the last. */
export const hosts = {
  name: "hosts",
  title: "Policies, by host",
  sizeTitle: "policies",
  sizes: [1, 10, 100, 1000, 5000],
  open: (size, context) => {
    const match = (index) => ({ hosts: [index === size - 1 ? "127.0.0.1" : `${index}.example.com`] });
    return openGet(context, { ...PLAIN, policies: policiesBy(size, match) });
  },
};

/** API keys in a file; the request has the last. */
export const apiKeys = {
  name: "api-keys",
  title: "API keys",
  sizeTitle: "keys",
  sizes: [1, 10, 100, 1000, 10_000, 100_000],
  open: (size, context) => {
    const keys = Array.from({ length: size }, (_, index) => ({
      subject: `partner-${index}`,
      sha256: createHash("sha256")
        .update(index === size - 1 ? API_KEY : `another-${index}`)
        .digest("hex"),
    }));
    const keysFile = join(ownFolder(context, "api-keys"), "keys.json");
    writeFileSync(keysFile, JSON.stringify({ keys }), { mode: 0o600 });
    const partners = { type: "apiKey", header: "X-Api-Key", keysFile };
    const settings = { ...PLAIN, authenticators: { partners }, authenticate: ["partners"] };
    return openGet(context, settings, API_KEY_FIELDS);
  },
};

/** Keys that are published, of which the first signs each request. A ring has two keys an algorithm; files have any number. */
export const signingKeys = {
  name: "signing-keys",
  title: "Published signing keys, each request signed",
  sizeTitle: "keys",
  sizes: [1, 10, 100, 1000],
  open: (size, context) => {
    const folder = ownFolder(context, "signing-keys");
    const files = Array.from({ length: size }, (_, index) => {
      const file = join(folder, `${index}.pem`);
      const { privateKey } = generateKeyPairSync("ed25519");
      writeFileSync(file, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
      return file;
    });
    return openGet(context, { ...PLAIN, issuer: { keys: { files } }, token: { reuse: false } });
  },
};

function openGet(context, settings, headers = {}) {
  const request = getRequest(PATH, headers);
  return openUnderLoad(context, settings, { requestOf: () => request, path: PATH, headers });
}

function policiesBy(size, match) {
  return Array.from({ length: size }, (_, index) => ({ name: `policy-${index}`, match: match(index) }));
}

/** In which nothing but these files changes: it is watched. */
function ownFolder({ folder }, name) {
  const own = join(folder, name);
  mkdirSync(own, { recursive: true, mode: 0o700 });
  return own;
}
