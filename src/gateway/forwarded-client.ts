import { isIP, SocketAddress } from "node:net";
import { addressRangesOf } from "../policy/authenticators/address-ranges.ts";
import { UNIX_PEER } from "../policy/caller-request.ts";
import { plainAddress, UNKNOWN_ADDRESS } from "./client/peer.ts";
import { type ForwardedElement, forwardedElement, parseForwarded } from "./forwarded-field.ts";
import { isAuthority } from "./host.ts";
import type { Refusal } from "./problem.ts";

/** Whether the peer at an address is a proxy whose word about the client counts. */
export type TrustedProxies = (address: string) => boolean;

/**
 * Compiles `trustedProxies`; `undefined` where it is empty, so that nobody is asked about any request.
 *
 * @param ranges CIDR ranges, and `unix` for whoever connects to a Unix socket
 */
export function trustedProxiesOf(ranges: readonly string[]): TrustedProxies | undefined {
  if (ranges.length === 0) return undefined;
  const isInRange = addressRangesOf(ranges);
  const trustsUnix = ranges.includes(UNIX_PEER);
  return (address) => (address === UNIX_PEER ? trustsUnix : isInRange(address));
}

/** What a trusted proxy says of the client; `undefined` is what it does not say. */
export interface ForwardedClient {
  readonly kind: "believed";
  /** The client's IP address. */
  readonly address: string | undefined;
  /** The addresses from the client's on, each of them seen by the next; without the peer's own. */
  readonly chain: readonly string[];
  readonly scheme: "http" | "https" | undefined;
  /** Host and port that the client asked for. */
  readonly authority: string | undefined;
  /** The part of `Forwarded` that is believed, as it was written; `undefined` where there is none. */
  readonly forwarded: string | undefined;
}

/** The address of a peer as others are told it. */
export function shownAddress(peerAddress: string): string {
  return peerAddress === UNIX_PEER ? UNKNOWN_ADDRESS : peerAddress;
}

/** `X-Forwarded-For` for the upstream: the hops that are believed, and the peer. A Unix socket has no address to add. */
export function forwardedForOf({ chain }: ForwardedClient, peerAddress: string): string {
  if (chain.length === 0) return shownAddress(peerAddress);
  return (peerAddress === UNIX_PEER ? chain : [...chain, peerAddress]).join(", ");
}

/**
 * `Forwarded` for the upstream: what is believed of it, and the peer's hop; `undefined` where no trusted proxy has begun it.
 *
 * @param scheme of the connection
 * @param authority what the request names in `Host`
 */
export function forwardedOf(
  { forwarded }: ForwardedClient,
  peerAddress: string,
  scheme: string,
  authority: string | undefined,
): string | undefined {
  if (forwarded === undefined) return undefined;
  return `${forwarded}, ${forwardedElement(shownAddress(peerAddress), scheme, authority)}`;
}

/** What became of the fields about forwarding. */
export type ForwardingOutcome = ForwardedClient | Refusal;

/** What one family of fields says of the client. */
type Word = Omit<ForwardedClient, "kind">;

/**
 * Reads what a trusted peer says of the client, in `X-Forwarded-For`, `-Proto` and `-Host` or in `Forwarded` (RFC 7239).
 *
 * A proxy that sets one family often passes the other on as the client sent it. Where both are there and differ, nobody
 * can tell which of them the proxy wrote: the request is refused. Other spellings of these names are never read.
 *
 * @param rawFields of a request whose peer is trusted
 */
export function readForwarding(rawFields: readonly string[], isTrusted: TrustedProxies): ForwardingOutcome {
  const lines = linesOf(rawFields);
  const first = lines.any ? wordOfXForwarded(lines, isTrusted) : undefined;
  const second = lines.forwarded ? wordOfForwarded(lines.forwarded, isTrusted) : undefined;
  if (typeof first === "string") return invalid(first);
  if (typeof second === "string") return invalid(second);
  if (first && second && !saySame(first, second)) return DIFFERENT;
  return { ...NOTHING_BELIEVED, ...second, ...first, forwarded: second?.forwarded };
}

/** Of a client that connects itself, or whose proxy is not trusted. */
export const NOTHING_BELIEVED: ForwardedClient = {
  kind: "believed",
  address: undefined,
  chain: [],
  scheme: undefined,
  authority: undefined,
  forwarded: undefined,
};

const DIFFERENT: Refusal = {
  kind: "refused",
  code: "ERR_FORWARDED_AMBIGUOUS",
  detail:
    "Forwarded and X-Forwarded-For, -Proto and -Host do not say the same; let the proxy in front set one of the two and remove the other",
};

/** The refusal of a request whose `Host` is for another policy than the host that is believed. */
export const HOST_AMBIGUOUS: Refusal = {
  kind: "refused",
  code: "ERR_FORWARDED_AMBIGUOUS",
  detail:
    "Host and the host that the proxy in front tells lead to different policies; let the proxy keep Host, or set preserveHost of the upstream to false",
};

function invalid(detail: string): Refusal {
  return { kind: "refused", code: "ERR_FORWARDED_INVALID", detail };
}

function saySame(first: Word, second: Word): boolean {
  return (
    first.address === second.address &&
    first.scheme === second.scheme &&
    first.authority?.toLowerCase() === second.authority?.toLowerCase()
  );
}

/** The lines of each field, in order; `undefined` where there is none. */
interface ForwardingLines {
  readonly forwarded: readonly string[] | undefined;
  readonly for: readonly string[] | undefined;
  readonly proto: readonly string[] | undefined;
  readonly host: readonly string[] | undefined;
  /** Whether there is one of `X-Forwarded-For`, `-Proto` and `-Host`. */
  readonly any: boolean;
}

const KEY_BY_NAME = new Map([
  ["forwarded", "forwarded"],
  ["x-forwarded-for", "for"],
  ["x-forwarded-proto", "proto"],
  ["x-forwarded-host", "host"],
] as const);

function linesOf(rawFields: readonly string[]): ForwardingLines {
  const lines: Record<"forwarded" | "for" | "proto" | "host", string[] | undefined> = {
    forwarded: undefined,
    for: undefined,
    proto: undefined,
    host: undefined,
  };
  for (let i = 0; i < rawFields.length; i += 2) {
    const name = rawFields[i] as string;
    const key = KEY_BY_NAME.get(name.toLowerCase() as "forwarded");
    // A field without a value says nothing.
    if (key === undefined || rawFields[i + 1] === "") continue;
    lines[key] ??= [];
    lines[key].push(rawFields[i + 1] as string);
  }
  return { ...lines, any: (lines.for ?? lines.proto ?? lines.host) !== undefined };
}

/**
 * What `X-Forwarded-*` say; a text is what is wrong with them. Of a scheme or host of several elements the last counts: the
 * proxies on the way need not all have added one, so that no element can be given to a hop, and only the last was
 * certainly written by a proxy.
 */
function wordOfXForwarded(lines: ForwardingLines, isTrusted: TrustedProxies): Word | string {
  const elements = elementsOf(lines.for);
  const { chain } = walk(elements, addressIn, isTrusted);
  const scheme = schemeIn(elementsOf(lines.proto).at(-1));
  if (scheme === INVALID) return "X-Forwarded-Proto is neither http nor https";
  const authority = authorityIn(elementsOf(lines.host).at(-1));
  if (authority === INVALID) return "X-Forwarded-Host is not a host name with an optional port";
  return { address: chain[0], chain, scheme, authority, forwarded: undefined };
}

/** An empty element of a list is none (RFC 9110 §5.6.1.2). */
function elementsOf(lines: readonly string[] = []): string[] {
  return lines
    .flatMap((line) => line.split(","))
    .map((element) => element.trim())
    .filter((element) => element !== "");
}

/** What `Forwarded` says (RFC 7239 §4); a text is what is wrong with it. */
function wordOfForwarded(lines: readonly string[], isTrusted: TrustedProxies): Word | string {
  const elements: ForwardedElement[] = [];
  for (const line of lines) {
    const more = parseForwarded(line);
    if (!more) return "Forwarded is not as RFC 7239 has it";
    elements.push(...more);
  }
  const { chain, end } = walk(
    elements,
    ({ parameters }) => addressIn(parameters.get("for") ?? UNKNOWN_ADDRESS),
    isTrusted,
  );
  // The hop at which the walk ends is the client's. A trusted proxy has written it even where it keeps the address to itself.
  const parameters = elements[end]?.parameters;
  const scheme = schemeIn(parameters?.get("proto"));
  if (scheme === INVALID) return "the proto of Forwarded is neither http nor https";
  const authority = authorityIn(parameters?.get("host"));
  if (authority === INVALID) return "the host of Forwarded is not a host name with an optional port";
  const believed = elements.slice(end).map(({ text }) => text);
  return {
    address: chain[0],
    chain,
    scheme,
    authority,
    forwarded: believed.length === 0 ? undefined : believed.join(", "),
  };
}

/**
 * Goes from the nearest hop to the client: each address was seen by the proxy behind it, so it counts only where that one is
 * trusted. What stands left of the client's hop anybody may have sent.
 *
 * @param hops from the farthest to the nearest
 * @param addressOf `undefined` for a hop whose address is unknown, hidden or broken
 */
function walk<T>(
  hops: readonly T[],
  addressOf: (hop: T) => string | undefined,
  isTrusted: TrustedProxies,
): { readonly chain: readonly string[] /** Index of the hop where it ended. */; readonly end: number } {
  const chain: string[] = [];
  let end = hops.length;
  while (end > 0) {
    end--;
    const address = addressOf(hops[end] as T);
    if (address === undefined) break;
    chain.unshift(address);
    if (!isTrusted(address)) break;
  }
  return { chain, end };
}

/** An address, or one with the port of its connection. An IPv6 address with a port stands in brackets (RFC 7239 §6). */
const NODE = /^(?:([\d.]+)(?::\d{1,5})?|\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|([0-9A-Fa-f:.]+))$/;

/** The address that an element names, in its usual spelling; `undefined` where it names none. */
function addressIn(element: string): string | undefined {
  const match = NODE.exec(element);
  const address = match?.[1] ?? match?.[2] ?? match?.[3];
  if (address === undefined) return undefined;
  const version = isIP(address);
  if (version === 4) return address;
  return version === 6 ? plainAddress(new SocketAddress({ address, family: "ipv6" }).address) : undefined;
}

/** Something is there, and it cannot be used. */
const INVALID = Symbol("invalid");

function schemeIn(text: string | undefined): "http" | "https" | undefined | typeof INVALID {
  switch (text?.toLowerCase()) {
    case undefined:
      return undefined;
    case "http":
    case "ws":
      return "http";
    case "https":
    case "wss":
      return "https";
    default:
      return INVALID;
  }
}

function authorityIn(text: string | undefined): string | undefined | typeof INVALID {
  return text === undefined || isAuthority(text) ? text : INVALID;
}
