import type { HostAddress, ScopedAddress } from "../base/address.ts";
import type { PeerCertificate } from "../base/app/session.ts";
import type { Framing, HeadersToSend } from "../base/wire/headers.ts";
import type { Method } from "../base/wire/method.ts";
import type { ModuleExport } from "./load_app.ts";
import type { PostedError } from "./worker_port.ts";

/** The body of a message with bytes to send; the framing is the length or `"chunked"`. */
export type BodyFraming = NonNullable<Framing>;

/** Messages about a body, which both threads send; `id` is that of the exchange. */
export type BodyMessage =
  /** The receiver wants the first bytes. */
  | { readonly type: "pull"; readonly id: number }
  | { readonly type: "piece"; readonly id: number; readonly bytes: Uint8Array<ArrayBuffer> }
  /** The receiver has used bytes; a large buffer goes back to its sender. */
  | {
    readonly type: "used";
    readonly id: number;
    readonly byteCount: number;
    readonly buffer: ArrayBuffer | null;
  }
  | { readonly type: "end"; readonly id: number }
  /** The source of the body has failed. */
  | { readonly type: "fail"; readonly id: number; readonly error: PostedError }
  /** The receiver doesn't need the remaining bytes. */
  | { readonly type: "cancel"; readonly id: number; readonly error: PostedError };

export interface PostedSession {
  readonly name: string;
  readonly address: HostAddress | ScopedAddress | null;
  readonly maxRequests: number;
  readonly peerCertificate: PeerCertificate | null;
}

export interface PostedRequest {
  readonly method: Method;
  readonly uri: string;
  readonly headers: HeadersToSend;
  readonly body: BodyFraming | null;
  readonly mount: string[];
  readonly path: string[];
  readonly query: string | null;
  readonly parameters: Readonly<Record<string, string | undefined>>;
  readonly store: readonly (readonly [string, unknown])[];
  /** Whether other events than the end of the session abort the signal. */
  readonly hasOwnSignal: boolean;
}

export interface PostedResponse {
  readonly status: number;
  readonly reason: string;
  readonly headers: HeadersToSend;
  /** The bytes; the framing of a body that follows in pieces; `null` without a body. */
  readonly body: Uint8Array | BodyFraming | null;
}

/** A message to the worker. Sessions and exchanges have different ids. */
export type WorkerCommand =
  | { readonly type: "load"; readonly app: ModuleExport; readonly args: readonly unknown[] | null }
  | { readonly type: "session"; readonly id: number; readonly session: PostedSession }
  | {
    readonly type: "request";
    readonly id: number;
    readonly sessionId: number;
    /** The properties of the session that may change. */
    readonly user: string | null;
    readonly requests: number;
    readonly request: PostedRequest;
  }
  /** The signal of a session or a request was aborted. */
  | { readonly type: "abort"; readonly id: number; readonly error: PostedError }
  | { readonly type: "disposeSession"; readonly id: number }
  /** The result of `trust()` or `checkTrusted()`. */
  | {
    readonly type: "trust";
    readonly callId: number;
    readonly trust: "trusted" | "untrusted" | "anonymous" | "unknown";
  }
  | { readonly type: "ping" }
  | { readonly type: "close" }
  | BodyMessage;

/** A message of the worker. */
export type WorkerReport =
  | { readonly type: "loaded"; readonly isMount: boolean | undefined }
  | { readonly type: "pong" }
  | { readonly type: "closed" }
  | { readonly type: "response"; readonly id: number; readonly response: PostedResponse }
  | {
    readonly type: "error";
    readonly id: number;
    readonly error: PostedError;
    /** Whether the error is that of the request's body, or of a trust check, in the main thread. */
    readonly origin: "app" | "body" | "trust";
  }
  /** The app has read a body that has the wrong content; the response is 400. */
  | { readonly type: "contentError"; readonly id: number; readonly error: PostedError }
  /** The app has read the signal of a session or a request. */
  | { readonly type: "watch"; readonly id: number }
  | {
    readonly type: "trust";
    readonly callId: number;
    readonly sessionId: number;
    readonly isCheck: boolean;
  }
  | {
    readonly type: "warn";
    readonly sessionId: number;
    readonly text: string;
    readonly error: PostedError | null;
  }
  /** The disposal of a value of `session.store` has failed. */
  | { readonly type: "storeError"; readonly error: PostedError }
  | { readonly type: "closeSession"; readonly sessionId: number; readonly error: PostedError }
  /** An error was not caught: the worker can't be used any more. */
  | { readonly type: "failed"; readonly error: PostedError }
  | BodyMessage;
