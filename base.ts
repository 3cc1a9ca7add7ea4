/**
 * The parts that client and server share: bodies, ranges, URIs, addresses and errors. The module
 * doesn't open sockets.
 *
 * - Bodies: {@linkcode Body}, {@linkcode ChunkedBody}, {@linkcode BodyIter} and
 *   {@linkcode ChunkedBodyIter}, which are together {@linkcode bodies};
 *   {@linkcode makeOutputFromInput} forwards a body.
 * - Their encoding as streams: {@linkcode LengthEncoderStream}, {@linkcode LengthDecoderStream},
 *   {@linkcode ChunkedEncoderStream}, {@linkcode ChunkedDecoderStream}.
 * - Parts of messages: {@linkcode Range}, {@linkcode SuffixRange}, {@linkcode ContentRange},
 *   {@linkcode UnsatisfiedRange}, {@linkcode buildUri}, `Response`.
 * - Text: {@linkcode parseAddress}, {@linkcode parseHostAddress}, {@linkcode formatAddress},
 *   {@linkcode checkAddress}, {@linkcode parseHost}, {@linkcode printable}.
 * - Errors: {@linkcode DeguError}, {@linkcode BodyError}, {@linkcode ConnectionError},
 *   {@linkcode ConnectionClosedError},
 *   {@linkcode ProtocolError}, {@linkcode EmptyPreambleError}, {@linkcode TlsError}.
 *   {@linkcode describeArgumentError} returns the name of the argument in an error.
 * - Logs: {@linkcode standardLogger} makes the logger that servers have by default.
 *
 * All other names are types that these use.
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

export * from "./base/errors.ts";
export { describeArgumentError } from "./internal/error_details.ts";
export type { ByteSink, ByteSource } from "./base/body/byte_io.ts";
export {
  type Bodies,
  bodies,
  Body,
  type BodyIn,
  BodyIter,
  ChunkedBody,
  ChunkedBodyIter,
  type MessageBody,
  type ReadableBody,
} from "./base/body/body.ts";
export { type BodyOut, makeOutputFromInput } from "./base/body/sent_body.ts";
export type { Chunk } from "./base/wire/chunk.ts";
export {
  ChunkedDecoderStream,
  ChunkedEncoderStream,
  LengthDecoderStream,
  LengthEncoderStream,
} from "./base/body/body_framing.ts";
export type { CommonHeaders, HeadersToSend, ReceivedHeaders } from "./base/wire/headers.ts";
export { type Method, type MethodWithBody } from "./base/wire/method.ts";
export { Response } from "./base/app/message.ts";
export { checkAddress, formatAddress, parseAddress, parseHostAddress } from "./base/address.ts";
export { type ParsedHost, parseHost } from "./base/host.ts";
export { ContentRange, Range, SuffixRange, UnsatisfiedRange } from "./base/wire/range.ts";
export type { Address, HostAddress, ScopedAddress } from "./base/address.ts";
export { type PeerAuthority, type PeerCertificate } from "./base/app/session.ts";
export type { Socket } from "./base/app/app.ts";
export { type LogDetails, type Logger, standardLogger } from "./base/app/logger.ts";
export { printable } from "./internal/printable.ts";
export { buildUri } from "./base/wire/uri.ts";
