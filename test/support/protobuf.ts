/** The fields of a message of Protocol Buffers, by number, each in order: a number, or the bytes of a text or a message. */
export type ProtobufFields = ReadonlyMap<number, readonly (bigint | Buffer)[]>;

/** Takes a message apart, as far as that can be done without its description. */
export function decodeProtobuf(message: Buffer): ProtobufFields {
  const fields = new Map<number, (bigint | Buffer)[]>();
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message.readUInt8(at++);
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const bytes = (length: number) => {
    if (at + length > message.length) throw new RangeError("the message is cut");
    at += length;
    return message.subarray(at - length, at);
  };
  const readValue = (wireType: number) => {
    if (wireType === 0) return varint();
    if (wireType === 1) return bytes(8).readBigUInt64LE();
    if (wireType === 2) return bytes(Number(varint()));
    if (wireType === 5) return BigInt(bytes(4).readUInt32LE());
    throw new TypeError(`the wire type ${wireType} is not known here`);
  };
  while (at < message.length) {
    const tag = Number(varint());
    const values = fields.get(tag >> 3) ?? [];
    fields.set(tag >> 3, [...values, readValue(tag & 7)]);
  }
  return fields;
}
