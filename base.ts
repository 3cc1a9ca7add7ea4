/**
 * The wire: what messages are made of, without any IO.
 *
 * @example
 * ```ts
 * import { buildUri, Range } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(buildUri(["foo", "bar"], "key=value"), "/foo/bar?key=value");
 * assertEquals(String(new Range(0, 500)), "bytes=0-499");
 * ```
 *
 * @module
 */

export {
  BodyError,
  ConnectionClosedError,
  DeguError,
  EmptyPreambleError,
  ProtocolError,
} from "./base/errors.ts";
export { type ByteSink, type ByteSource } from "./base/byte_io.ts";
export { type BodyInput } from "./base/body_source.ts";
export { Body } from "./base/body.ts";
export { BodyIter, ChunkedBodyIter } from "./base/body_iter.ts";
export { ChunkedBody } from "./base/chunked_body.ts";
export { type Chunk, type ChunkExtension } from "./base/chunk.ts";
export {
  type Bodies,
  bodies,
  type BodyIn,
  type BodyOut,
  makeOutputFromInput,
} from "./base/bodies.ts";
export {
  ChunkedDecoderStream,
  ChunkedEncoderStream,
  LengthDecoderStream,
  LengthEncoderStream,
} from "./base/encoder_streams.ts";
export { type HeaderDict } from "./base/headers.ts";
export { type Method } from "./base/preamble.ts";
export { Response, type ResponseTuple } from "./base/message.ts";
export { formatAddress, parseAddress } from "./base/address.ts";
export { ContentRange, Range } from "./base/range.ts";
export {
  type Address,
  type HostAddress,
  type PeerCertificate,
  type ScopedAddress,
} from "./base/session.ts";
export { api } from "./base/api.ts";
export { type Api, type Socket } from "./base/app.ts";
export { buildUri } from "./base/uri.ts";
