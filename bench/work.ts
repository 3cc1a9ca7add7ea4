/**
 * The work of a pair of programs, as plain data that is passed to them as JSON.
 *
 * @module
 */

/** Paths of the PEM files of one end of a mutually authenticated TLS connection. */
export interface CertificateFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** The authority that the other end's certificate must come from. */
  readonly caFile: string;
}

/** The PEM files of both ends. */
export interface TlsFiles {
  readonly server: CertificateFiles;
  readonly client: CertificateFiles;
}

/** Where a server listens. Port 0 asks for any free port. */
export type Endpoint =
  | { readonly transport: "tcp"; readonly hostname: string; readonly port: number; tls?: TlsFiles }
  | { readonly transport: "unix"; readonly path: string; tls?: TlsFiles };

/** What a server of this project does with the figures of each exchange; other peers have none. */
export type Observer = "onExchange" | "accessLog";

/** Small messages in sequence on each of some connections. */
export interface ExchangeWork {
  readonly kind: "exchange";
  /** `post`: a body of {@link payloadLength} bytes each way. `headers`: a GET with twelve headers each way and no body. */
  readonly message: "post" | "headers";
  readonly connections: number;
  readonly observer?: Observer | undefined;
  /** Whether each message has a connection of its own; `connections` of them at a time. */
  readonly single?: boolean;
}

/** How a receiver takes a body. Peers that have one way only ignore it. */
export type Taking = "writeTo" | "byob" | "stream" | "iterate";

/** One large body in one direction. */
export interface TransferWork {
  readonly kind: "transfer";
  readonly direction: "upload" | "download";
  readonly framing: "length" | "chunked";
  /** Bytes per write of the sender, and per chunk where the framing is chunked. Divides 1 MiB. */
  readonly pieceLength: number;
  readonly taking: Taking;
  /** Where the sender has the bytes from: a source that fills a buffer it is given, or an iterable of pieces. */
  readonly origin: "source" | "pieces";
}

/** A server that sends one file of a directory. The client's side is a {@link TransferWork} download. */
export interface FileWork {
  readonly kind: "file";
  readonly directory: string;
  readonly name: string;
  /** Bytes that a server which reads the file itself takes at once. */
  readonly pieceLength: number;
}

/** A server that passes each message on to another server. */
export interface RelayWork {
  readonly kind: "relay";
  readonly upstream: Endpoint;
}

/** A server that answers a GET of `/` with {@link payloadLength} bytes, for a load generator. */
export interface AnswerWork {
  readonly kind: "answer";
  readonly observer?: Observer | undefined;
}

/** What a server can be started for. */
export type ServerWork = ExchangeWork | TransferWork | FileWork | RelayWork | AnswerWork;

/** What a client can be started for. `uri` is the path of the request for a download. */
export type ClientWork = ExchangeWork | (TransferWork & { readonly uri?: string });

/** Bytes in the body of a small message. */
export const payloadLength = 108;
