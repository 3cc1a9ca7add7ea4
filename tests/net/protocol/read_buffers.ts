import type { ReadBuffer } from "@degu/internal/base/body/byte_io.ts";

/** Appends bytes as if a socket had read them. */
export function append(buffer: ReadBuffer, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) {
    const part = bytes.subarray(at, at + buffer.makeRoom().length);
    buffer.makeRoom().set(part);
    at += buffer.countRead(part.length);
  }
}
