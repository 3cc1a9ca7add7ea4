/** The types in the signatures of {@linkcode App}, for every public module that exports it. */

export type { Address, HostAddress, ScopedAddress } from "../address.ts";
export type { Bodies, BodyClasses, BodyIn, BodyOut } from "../body/bodies.ts";
export type { Body } from "../body/body.ts";
export type { BodyIter, ChunkedBodyIter } from "../body/body_iter.ts";
export type { BodyInput } from "../body/body_source.ts";
export type { ByteSink, ByteSource } from "../body/byte_io.ts";
export type { ChunkedBody } from "../body/chunked_body.ts";
export type { Chunk, ChunkExtension } from "../wire/chunk.ts";
export type { HeaderDict, ReceivedHeaders } from "../wire/headers.ts";
export type { Method } from "../wire/preamble.ts";
export type { ContentRange, Range } from "../wire/range.ts";
export type { Api, App, AppFunction, AppObject, Socket } from "./app.ts";
export type { Request, Response, ResponseTuple } from "./message.ts";
export type { PeerAuthority, PeerCertificate, Session } from "./session.ts";
