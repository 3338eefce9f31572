import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import type { Command } from "commander";
import { nearest } from "../config/problems.ts";
import { reasonOf } from "../errors.ts";
import { http } from "../node-http.ts";
import { printableJson } from "../observability/printable.ts";
import { type PeerCertificate, UNIX_PEER } from "../policy/caller-request.ts";
import { type ConfigurationFlags, configOption, readConfiguration } from "./configuration.ts";
import { explain } from "./explanation.ts";
import { describeExplanation } from "./explanation-text.ts";
import { type ImaginedRequest, openStage } from "./rehearsal.ts";
import { borrowKeys } from "./rehearsal-keys.ts";
import { UsageError } from "./usage-error.ts";

interface ExplainFlags extends ConfigurationFlags {
  readonly header?: readonly string[];
  readonly from: string;
  readonly clientCert?: string;
  readonly json?: true;
}

/** `countersign explain`: what would become of a request, and why. */
export function addExplainCommand(program: Command): Command {
  return program
    .command("explain")
    .summary("say what would become of a request, and why")
    .description(
      "Says which policy a request matches, who the caller is, what is taken out, what the token claims and where it comes from, and where the request goes; exits with 1 where it would be refused. The request is not sent, the token is not printed, and no key is made or changed. The rest is done as for a real request: the module of the policy runs, and keys that verify a caller's JWT are fetched.",
    )
    .argument("<method>", "such as GET")
    .argument("<url>", "a path, or a URL, whose host becomes the Host field unless -H says another")
    .addOption(configOption())
    .option(
      "-H, --header <field>",
      "a field of the request, such as 'X-Region: eu'; may be given again",
      collect,
    )
    .option(
      "--from <ip>",
      "the address of the peer that sends the request, or unix for a Unix socket",
      "127.0.0.1",
    )
    .option(
      "--client-cert <file>",
      "the certificate (PEM) that the client shows; it is taken for a trusted one",
    )
    .option("--json", "print the explanation as JSON")
    .action(async (method: string, url: string, flags: ExplainFlags) => {
      const request = await requestOf(method, url, flags);
      const { config } = await readConfiguration(flags);
      const { keys, ...aboutKeys } = await borrowKeys(config);
      await using closing = new AsyncDisposableStack();
      closing.defer(keys.close);
      const stage = closing.use(await openStage(config, { keys }));
      const explanation = explain(config, request, await stage.rehearse(request), aboutKeys);
      if (explanation.outcome === "refused") process.exitCode = 1;
      console.log(flags.json ? printableJson(explanation, 2) : describeExplanation(explanation));
    });
}

function collect(field: string, before: readonly string[] = []): readonly string[] {
  return [...before, field];
}

async function requestOf(
  method: string,
  url: string,
  { header = [], from, clientCert }: ExplainFlags,
): Promise<ImaginedRequest> {
  checkMethod(method);
  if (isIP(from) === 0 && from !== UNIX_PEER)
    throw new UsageError("--from: expected an IP address such as 10.0.0.7, or unix");
  return {
    method,
    url,
    fields: header.map(fieldOf),
    from,
    certificate: clientCert === undefined ? undefined : await certificateIn(clientCert),
  };
}

function checkMethod(method: string): void {
  if (method === "CONNECT") throw new UsageError("CONNECT: no request is tunnelled");
  if (http.METHODS.includes(method)) return;
  const meant = nearest(method, http.METHODS);
  throw new UsageError(
    `expected a method such as GET before the URL${meant ? `; did you mean ${meant}?` : ""}`,
  );
}

/** What is wrong with a field is said without its value: it may be a credential. */
function fieldOf(line: string, index: number): readonly [string, string] {
  const colon = line.indexOf(":");
  if (colon === -1) throw new UsageError(`-H: expected 'name: value' in field ${index + 1}`);
  const name = line.slice(0, colon);
  const value = line.slice(colon + 1).trim();
  // RFC 9110 §5.1 and §5.5: the parser of HTTP lets nothing else through.
  if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(name))
    throw new UsageError(`-H: expected a field name of letters, digits and hyphens in field ${index + 1}`);
  if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value))
    throw new UsageError(`-H: a value cannot hold the characters that are in field ${index + 1}`);
  return [name, value];
}

async function certificateIn(file: string): Promise<PeerCertificate> {
  try {
    return { certificate: new X509Certificate(await readFile(file)), isTrusted: true };
  } catch (error) {
    throw new UsageError(`--client-cert: ${file} cannot be read as a certificate: ${reasonOf(error)}`);
  }
}
