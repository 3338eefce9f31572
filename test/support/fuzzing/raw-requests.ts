import fc from "fast-check";
import { credentialLine, legalLine, oddLine } from "./field-lines.ts";
import { legalMethod, legalTarget, MARKER, oddMethod, oddTarget } from "./raw-targets.ts";

/** A generated request, as bytes in pieces of its parts. Latin-1. */
export interface RawRequest {
  readonly head: string;
  readonly body: string;
  /** Whether nothing about it is wrong, so that it has to arrive and to be answered. */
  readonly isValid: boolean;
}

/** What a client is generated to send and to do. */
export interface GeneratedConnection {
  readonly requests: readonly RawRequest[];
  /** Behind the last request. */
  readonly garbage: string;
  /** Where the bytes are cut into pieces, each from 0 (the beginning) to 1 (the end); or at the seams of requests and bodies. */
  readonly cuts: readonly (number | "body" | "request")[];
  readonly leaving: "leaves" | "half-closes" | "resets";
}

/** What a body hopes to be taken for. */
const SMUGGLED = `GET /rest/${MARKER}/smuggled HTTP/1.1\r\nHost: a\r\nX-Service-Token: forged\r\n\r\n`;

const oddVersion = fc.constantFrom(
  "HTTP/1.0",
  "HTTP/0.9",
  "HTTP/2.0",
  "HTTP/1.2",
  "HTTP/1.10",
  "http/1.1",
  "HTTP/1.1 ",
  "",
);

const payload = fc.oneof(
  fc.constantFrom(
    "",
    "abc",
    SMUGGLED,
    SMUGGLED,
    `0\r\n\r\n${SMUGGLED}`,
    `5\r\nabcde\r\n0\r\n\r\n${SMUGGLED}`,
  ),
  fc.constantFrom(1000, 20_000).map((size) => `${SMUGGLED}${"b".repeat(size)}`),
);

interface Framed {
  readonly lines: readonly string[];
  readonly body: string;
}

const legalBody: fc.Arbitrary<Framed> = fc
  .tuple(payload, fc.constantFrom("none", "length", "length", "chunked", "chunked"), fc.nat(3))
  .map(([content, framing, variant]) => {
    if (framing === "none") return { lines: [], body: "" };
    if (framing === "length")
      return { lines: [`Content-Length: ${variant === 3 ? "00" : ""}${content.length}`], body: content };
    return {
      lines: [`Transfer-Encoding: ${variant === 3 ? "Chunked" : "chunked"}`],
      body: chunked(content, variant),
    };
  });

function chunked(content: string, variant: number): string {
  const half = variant === 1 ? content.length >> 1 : content.length;
  const chunks = [content.slice(0, half), content.slice(half)].filter((chunk) => chunk !== "");
  const extension = variant === 2 ? ";x=y" : "";
  const trailers = variant === 1 ? "X-Service-Token: forged\r\nx_service_token: forged\r\nHost: b\r\n" : "";
  return `${chunks.map((chunk) => `${chunk.length.toString(16)}${extension}\r\n${chunk}\r\n`).join("")}0\r\n${trailers}\r\n`;
}

/** Bodies whose end two readers would see at two places. */
const oddBody: fc.Arbitrary<Framed> = fc
  .tuple(
    payload,
    fc.constantFrom(
      "too short",
      "too long",
      "both",
      "two lengths",
      "two codings",
      "unframed",
      "broken chunk",
    ),
    fc.constantFrom("zz", "-1", "", "1;\n", "fffffffffffffffff", "1\r", "0x3", "3 ", "3;x=\x00", "1000000"),
    fc.boolean(),
  )
  .map(([content, kind, size, flag]) => {
    const length = (bytes: number) => `Content-Length: ${Math.max(0, bytes)}`;
    const coding = "Transfer-Encoding: chunked";
    switch (kind) {
      case "too short":
        return { lines: [length(content.length >> 1)], body: content };
      case "too long":
        return { lines: [length(content.length + (flag ? 10 : 100_000))], body: content };
      case "both": {
        const lines = [length(flag ? content.length : 3), coding];
        return { lines: flag ? lines : lines.toReversed(), body: `0\r\n\r\n${content}` };
      }
      case "two lengths":
        return { lines: [length(content.length), length(flag ? 0 : content.length)], body: content };
      case "two codings":
        return {
          lines: [flag ? "Transfer-Encoding: gzip, chunked" : `Transfer-Encoding: identity\r\n${coding}`],
          body: chunked(content, 0),
        };
      case "unframed":
        return { lines: [], body: content };
      default:
        return { lines: [coding], body: `3\r\nabc${flag ? "\r\n" : ""}${size}\r\n${content}\r\n0\r\n\r\n` };
    }
  });

/** Requests without a fault: every one has to arrive. */
const validRequest: fc.Arbitrary<RawRequest> = fc
  .tuple(legalMethod, legalTarget, fc.array(legalLine, { maxLength: 3 }), legalBody, fc.nat(8))
  .map(([name, target, lines, { lines: framing, body }, place]) => {
    const all = [...lines];
    all.splice(place % (all.length + 1), 0, "Host: a", ...framing);
    return { head: headOf(name, target, "HTTP/1.1", all), body, isValid: true };
  });

/** Requests in which anything may be wrong. */
const oddRequest: fc.Arbitrary<RawRequest> = fc
  .tuple(
    fc.oneof({ weight: 9, arbitrary: legalMethod }, { weight: 1, arbitrary: oddMethod }),
    fc.oneof({ weight: 3, arbitrary: legalTarget }, { weight: 1, arbitrary: oddTarget }),
    fc.oneof({ weight: 9, arbitrary: fc.constant("HTTP/1.1") }, { weight: 2, arbitrary: oddVersion }),
    fc.array(fc.oneof({ weight: 4, arbitrary: oddLine }, { weight: 1, arbitrary: credentialLine }), {
      maxLength: 4,
    }),
    fc.oneof({ weight: 2, arbitrary: legalBody }, { weight: 1, arbitrary: oddBody }),
    fc.nat(8),
    fc.nat(20),
  )
  .map(([name, target, version, lines, { lines: framing, body }, place, host]) => {
    const all = [...lines];
    all.splice(place % (all.length + 1), 0, ...(host === 0 ? [] : ["Host: a"]), ...framing);
    return { head: headOf(name, target, version, all), body, isValid: false };
  });

/** A single byte too many, or one too few, anywhere in a head. */
const mutatedRequest: fc.Arbitrary<RawRequest> = fc
  .tuple(
    validRequest,
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.constantFrom("", "\x00", "\n", "\r", " ", "\t", ":", "\x7f", "\x80", "\r\n", ",", "\r\n "),
  )
  .map(([{ head, body }, where, inserted]) => {
    const at = Math.floor(where * (head.length - 1));
    const behind = inserted === "" ? at + 1 : at;
    return { head: head.slice(0, at) + inserted + head.slice(behind), body, isValid: false };
  });

/** A request to upgrade; behind it no further request is handled, unless it is tunnelled. */
const upgradeRequest = (protocols: readonly string[]): fc.Arbitrary<RawRequest> =>
  fc
    .tuple(
      fc.constantFrom("GET", "GET", "POST"),
      legalTarget,
      fc.constantFrom(...protocols),
      legalBody,
      oddLine,
    )
    .map(([name, target, protocol, { lines: framing, body }, line]) => {
      const upgrade = ["Host: a", "Connection: Upgrade", `Upgrade: ${protocol}`];
      const handshake = ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"];
      const lines = [...upgrade, ...(protocol === "websocket" ? handshake : []), line, ...framing];
      return { head: headOf(name, target, "HTTP/1.1", lines), body, isValid: false };
    });

function headOf(method: string, target: string, version: string, lines: readonly string[]): string {
  return `${method} ${target} ${version}\r\n${lines.map((line) => `${line}\r\n`).join("")}\r\n`;
}

/**
 * What a client sends over one connection: mostly several requests, and most of them valid.
 *
 * @param upgradeProtocols of the requests to upgrade that are among them
 */
export function generatedConnection(upgradeProtocols: readonly string[]): fc.Arbitrary<GeneratedConnection> {
  const cut = fc.oneof(
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.constantFrom("body" as const, "request" as const),
  );
  const common = {
    cuts: fc.oneof(
      { weight: 2, arbitrary: fc.constant([]) },
      { weight: 3, arbitrary: fc.array(cut, { maxLength: 3 }) },
    ),
    leaving: fc.constantFrom("leaves" as const, "leaves" as const, "half-closes" as const, "resets" as const),
  };
  const anyRequest = fc.oneof(
    { weight: 4, arbitrary: validRequest },
    { weight: 4, arbitrary: oddRequest },
    { weight: 2, arbitrary: mutatedRequest },
    { weight: 1, arbitrary: upgradeRequest(upgradeProtocols) },
  );
  return fc.oneof(
    {
      weight: 1,
      arbitrary: fc.record({
        requests: fc.array(validRequest, { minLength: 1, maxLength: 4 }),
        garbage: fc.constant(""),
        ...common,
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        requests: fc.array(anyRequest, { minLength: 1, maxLength: 4 }),
        garbage: fc.constantFrom(
          "",
          "",
          SMUGGLED,
          "\r\n\r\n",
          "garbage\r\n\r\n",
          "\x16\x03\x01\x02\x00",
          "\x00",
        ),
        ...common,
      }),
    },
  );
}
