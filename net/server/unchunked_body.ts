import { type WritableBody, writeMessageBody } from "../../base/body/body.ts";
import { ChunkedValidator } from "../../base/wire/chunk.ts";

/**
 * Writes the data of a chunked body, for a client of HTTP/1.0, which reads no chunks (RFC 9112
 * §7.1).
 */
export async function writeUnchunked(
  body: WritableBody,
  write: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const validator = new ChunkedValidator();
  await writeMessageBody(body, {
    async write(bytes) {
      const pieces: Uint8Array[] = [];
      validator.validate(bytes, (part, _header, piece) => {
        if (part === "data") pieces.push(piece);
      });
      for (const piece of pieces) await write(piece);
    },
  });
}
