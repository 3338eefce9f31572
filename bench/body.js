const PIECE = Buffer.alloc(64 * 1024, "x");

/** A body of so many bytes, in pieces of 64 KiB. */
export function* piecesOf(bytes) {
  for (let left = bytes; left > 0; left -= PIECE.length)
    yield left < PIECE.length ? PIECE.subarray(0, left) : PIECE;
}
