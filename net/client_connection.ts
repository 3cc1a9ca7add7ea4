/**
 * The client's end of a connection.
 *
 * @module
 */

import type { Socket } from "../base/app.ts";
import {
  type Bodies,
  bodies as defaultBodies,
  type BodyOut,
  cancelUnused,
  checkBodies,
} from "../base/bodies.ts";
import { typeName } from "../base/errors.ts";
import { checkHeaderDict } from "../base/header_format.ts";
import type { HeaderDict } from "../base/headers.ts";
import { hideSecrets, INSPECT, inspectFields } from "../base/inspect.ts";
import type { Response } from "../base/message.ts";
import { checkResponseStart, type Method } from "../base/preamble.ts";
import { isRange, Range } from "../base/range.ts";
import { checkTimeout } from "./deadline.ts";
import { Exchanges } from "./exchanges.ts";
import { type RequestOptions, requestSignal } from "./request_signal.ts";
import { Transport } from "./transport.ts";

/** Seconds that a wait may take where nothing else was asked for. */
export const DEFAULT_TIMEOUT = 90;

/** Makes a connection close itself once its response has been read. For clients. */
export let closeAfterResponse: (connection: Connection) => void;

/** What a connection stands on, which must not keep it alive. For clients. */
export let transportOf: (connection: Connection) => Transport;

/**
 * One connection to a server: one request at a time, each response's body read before the next.
 *
 * `client.connect()` makes one; over any other {@linkcode Socket} make it yourself. It closes itself after any error but a mistake of the caller
 * that was found before the first byte went out, at the end of a `using` block, and when it is
 * garbage collected; a body that is in use keeps it alive.
 *
 * @example
 * ```ts
 * import { Client } from "@degu/degu/client";
 * import { Server } from "@degu/degu/server";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = new Server(["127.0.0.1", 0], () => [200, "OK", {}, null]);
 * const serving = server.serveForever();
 * using conn = await new Client(server.address).connect();
 * const response = await conn.get("/");
 * assertEquals(response.status, 200);
 * server.close();
 * await serving;
 * ```
 */
export class Connection implements Disposable {
  /** The socket that was given to the constructor. */
  readonly sock: Socket;
  /** Headers that go with each request, over the caller's; `null` for none. */
  readonly baseHeaders: HeaderDict | null;
  /** The classes that the bodies of responses are made from. */
  readonly bodies: Bodies;
  readonly #transport: Transport;
  readonly #exchanges: Exchanges;

  /**
   * Makes a connection over a socket, which it owns from then on.
   *
   * @param baseHeaders Headers that go with each request, or `null`.
   * @param bodies The classes that the bodies of responses are made from.
   * @param timeout Seconds that each wait for the peer may take, or `null` for any time.
   * @throws {TypeError} or `RangeError` for an argument that is wrong.
   */
  constructor(
    sock: Socket,
    baseHeaders: HeaderDict | null,
    bodies: Bodies = defaultBodies,
    timeout: number | null = DEFAULT_TIMEOUT,
  ) {
    checkSocket(sock);
    if (baseHeaders !== null) checkHeaderDict(baseHeaders);
    checkBodies(bodies);
    checkTimeout(timeout);
    this.sock = sock;
    this.baseHeaders = baseHeaders;
    this.bodies = bodies;
    this.#transport = new Transport(sock, timeout, checkResponseStart);
    this.#exchanges = new Exchanges(
      this.#transport,
      baseHeaders,
      bodies,
      sock.protocol !== undefined,
    );
  }

  /** True once the connection has been closed, by whomever. */
  get closed(): boolean {
    return this.#transport.closed;
  }

  /**
   * Makes a request and resolves to the response, whose body, if any, is still to be read.
   *
   * @param uri The path, which starts with `/`, and the query.
   * @param headers By lower-case name; not modified.
   * @param body `null` unless the method is `PUT` or `POST`.
   * @param options A signal that aborts this request; rejects with its reason.
   * @throws {TypeError} for an argument of a wrong type, and for an unknown option.
   * @throws {RangeError} for a value that is not allowed.
   * @throws {BodyError} where the previous response's body is unread, or this body can't be sent.
   * @throws {ConnectionClosedError} where the connection is closed.
   * @throws {ProtocolError} where the peer breaks the grammar; an `EmptyPreambleError` where it
   * closes before it answers.
   * @throws {Deno.errors.TimedOut} where the peer keeps the connection waiting.
   */
  request(
    method: Method,
    uri: string,
    headers: HeaderDict,
    body: BodyOut,
    options?: RequestOptions,
  ): Promise<Response> {
    try {
      const signal = requestSignal(options);
      signal?.throwIfAborted();
      return this.#exchanges.request(method, uri, headers, body, signal);
    } catch (error) {
      cancelUnused(body, error);
      return Promise.reject(error);
    }
  }

  /** A `PUT` request: `request("PUT", uri, headers, body)`. */
  put(
    uri: string,
    headers: HeaderDict,
    body: BodyOut,
    options?: RequestOptions,
  ): Promise<Response> {
    return this.request("PUT", uri, headers, body, options);
  }

  /** A `POST` request: `request("POST", uri, headers, body)`. */
  post(
    uri: string,
    headers: HeaderDict,
    body: BodyOut,
    options?: RequestOptions,
  ): Promise<Response> {
    return this.request("POST", uri, headers, body, options);
  }

  /** A `GET` request: `request("GET", uri, headers, null)`. */
  get(uri: string, headers: HeaderDict = {}, options?: RequestOptions): Promise<Response> {
    return this.request("GET", uri, headers, null, options);
  }

  /** A `HEAD` request: `request("HEAD", uri, headers, null)`. */
  head(uri: string, headers: HeaderDict = {}, options?: RequestOptions): Promise<Response> {
    return this.request("HEAD", uri, headers, null, options);
  }

  /** A `DELETE` request: `request("DELETE", uri, headers, null)`. */
  delete(uri: string, headers: HeaderDict = {}, options?: RequestOptions): Promise<Response> {
    return this.request("DELETE", uri, headers, null, options);
  }

  /**
   * A `GET` request for the bytes from `start` up to, not including, `stop` (RFC 9110 §14.2).
   *
   * @param headers A `range` that is there already has to be the same one.
   */
  async getRange(
    uri: string,
    headers: HeaderDict,
    start: number,
    stop: number,
    options?: RequestOptions,
  ): Promise<Response> {
    requestSignal(options)?.throwIfAborted();
    this.#exchanges.checkReady("GET", uri, null);
    return await this.request("GET", uri, withRange(headers, start, stop), null, options);
  }

  /** Closes the connection; whatever waits for it rejects. Closing it again does nothing. */
  close(): void {
    this.#transport.close();
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** What `console.log` and `Deno.inspect` show: everything but what is secret in `baseHeaders`. */
  [INSPECT](inspect: (value: unknown, options?: unknown) => string, options: unknown): string {
    const { closed, baseHeaders, sock } = this;
    const shown = baseHeaders && hideSecrets(baseHeaders);
    return inspectFields("Connection", { closed, baseHeaders: shown, sock }, inspect, options);
  }

  static {
    closeAfterResponse = (connection) => {
      connection.#exchanges.closeAfterBody = true;
    };
    transportOf = (connection) => connection.#transport;
  }
}

function checkSocket(sock: Socket): void {
  for (const name of ["read", "write", "close"] as const) {
    if (typeof sock?.[name] !== "function") {
      throw new TypeError(`sock: need an object with the method ${name}; got ${typeName(sock)}`);
    }
  }
}

/** Copies headers, with the range that is asked for. */
function withRange(headers: HeaderDict, start: number, stop: number): HeaderDict {
  const range = new Range(start, stop);
  checkHeaderDict(headers);
  if (Object.hasOwn(headers, "range")) {
    const given = headers["range"];
    if (!isRange(given)) throw new TypeError('headers["range"]: need a Range');
    if (given.start !== start || given.stop !== stop) {
      throw new RangeError(`headers["range"]: ${given} is not the range that is asked for`);
    }
  }
  return { ...headers, range };
}

/**
 * Closes a connection when a signal is aborted, with its reason. The signal knows the transport only, so
 * that a connection that was forgotten can be collected. For clients.
 */
export function closeOnAbort(connection: Connection, signal: AbortSignal): void {
  const transport = transportOf(connection);
  const abort = () => transport.close(signal.reason);
  if (signal.aborted) return abort();
  signal.addEventListener("abort", abort);
  const { onClose } = transport;
  transport.onClose = () => {
    signal.removeEventListener("abort", abort);
    onClose?.();
  };
}
