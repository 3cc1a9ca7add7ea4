/**
 * The client's end of a connection.
 *
 * @module
 */

import type { Socket } from "../base/app/app.ts";
import {
  type Bodies,
  bodies as defaultBodies,
  type BodyOut,
  cancelUnused,
  checkBodies,
} from "../base/body/bodies.ts";
import { checkMethods, wrongType } from "../base/checks.ts";
import { checkHeaderDict, type HeaderDict } from "../base/wire/headers.ts";
import { hideSecrets, INSPECT, inspectFields } from "../base/inspect.ts";
import type { Response } from "../base/app/message.ts";
import type { Method } from "../base/wire/preamble.ts";
import { isRange, Range } from "../base/wire/range.ts";
import { checkTimeout, keepTimersForNext } from "./deadline.ts";
import { Exchanges } from "./exchanges.ts";
import { type RequestOptions, requestSignal } from "./request_signal.ts";
import { Transport } from "./transport.ts";

/** Seconds that a wait may take by default. */
export const DEFAULT_TIMEOUT = 90;

/** Makes a connection close itself once its response has been read. For clients. */
export let closeAfterResponse: (connection: Connection) => void;

/** Makes a connection close when a signal is aborted, which does not keep it alive. For clients. */
export let closeOn: (connection: Connection, signal: AbortSignal) => void;

/** Adds to the error of a client that the server refuses why that may be, and what to do. For clients. */
export let explainRefusal: (connection: Connection, hint: string) => void;

/**
 * One connection to a server: one request at a time, each response's body read before the next request.
 *
 * `client.connect()` makes one; over any other {@linkcode Socket} make it yourself. Any error closes it,
 * except an invalid argument found before the first byte was sent. It also closes at the end of a `using`
 * block, and when it is garbage collected; a body that is in use keeps it alive.
 *
 * @example
 * ```ts
 * import { Client } from "@degu/degu/client";
 * import { Server } from "@degu/degu/server";
 * import { assertEquals } from "@std/assert";
 *
 * await using server = new Server(["127.0.0.1", 0], () => [200, "OK", {}, null]);
 * server.serveForever();
 * using conn = await new Client(server.address).connect();
 * const response = await conn.get("/");
 * assertEquals(response.status, 200);
 * ```
 */
export class Connection implements Disposable {
  /**
   * The socket that was given to the constructor. It does not keep the connection alive, which closes it when it is
   * garbage collected.
   */
  readonly sock: Socket;
  /** Headers sent with each request, overriding the caller's; `null` for none. */
  readonly baseHeaders: HeaderDict | null;
  /** The classes that the bodies of responses are made from. */
  readonly bodies: Bodies;
  readonly #transport: Transport;
  readonly #exchanges: Exchanges;

  /**
   * Makes a connection over a socket, which it owns from now on.
   *
   * @param sock A socket that nothing was read from or written to.
   * @param baseHeaders Headers sent with each request, or `null`.
   * @param bodies The classes that the bodies of responses are made from.
   * @param timeout Seconds that each wait for the peer may take, or `null` for no limit.
   * @throws {TypeError} if an argument is of a wrong type.
   * @throws {RangeError} if a value is not allowed.
   */
  constructor(
    sock: Socket,
    baseHeaders: HeaderDict | null,
    bodies: Bodies = defaultBodies,
    timeout: number | null = DEFAULT_TIMEOUT,
  ) {
    checkMethods("sock", sock, ["read", "write", "close"]);
    if (baseHeaders !== null) checkHeaderDict(baseHeaders);
    checkBodies(bodies);
    checkTimeout(timeout);
    this.sock = sock;
    this.baseHeaders = baseHeaders;
    this.bodies = bodies;
    this.#transport = new Transport(sock, timeout);
    this.#exchanges = new Exchanges(
      this.#transport,
      baseHeaders,
      bodies,
      sock.protocol !== undefined,
    );
  }

  /**
   * True once the connection has been closed. That the server has closed an idle connection is noticed at the next
   * request.
   */
  get closed(): boolean {
    return this.#transport.closed;
  }

  /**
   * Makes a request and resolves to the response, whose body, if any, is still to be read.
   *
   * @param method `GET`, `HEAD`, `DELETE`, `PUT` or `POST`.
   * @param uri The path, which starts with `/`, and the query.
   * @param headers The headers by lower-case name; not modified.
   * @param body The body; `null` unless the method is `PUT` or `POST`.
   * @param options A signal that aborts this request; rejects with its reason.
   * @throws {TypeError} if an argument is of a wrong type, or an option is unknown.
   * @throws {RangeError} if a value is not allowed.
   * @throws {BodyError} if the previous response's body is unread, or this body can't be sent.
   * @throws {ConnectionClosedError} if the connection is closed.
   * @throws {ProtocolError} if the peer sends something invalid; an `EmptyPreambleError` if it closes
   * before it responds.
   * @throws {Deno.errors.TimedOut} if the peer keeps the connection waiting.
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

  /**
   * Makes a `PUT` request: the same as `request("PUT", uri, headers, body, options)`.
   *
   * @param uri The path, which starts with `/`, and the query.
   * @param headers The headers by lower-case name; not modified.
   * @param body The body, or `null`.
   * @param options A signal that aborts this request; rejects with its reason.
   * @throws the same errors as {@linkcode Connection.prototype.request}.
   */
  put(
    uri: string,
    headers: HeaderDict,
    body: BodyOut,
    options?: RequestOptions,
  ): Promise<Response> {
    return this.request("PUT", uri, headers, body, options);
  }

  /**
   * Makes a `POST` request: the same as `request("POST", uri, headers, body, options)`.
   *
   * @param uri The path, which starts with `/`, and the query.
   * @param headers The headers by lower-case name; not modified.
   * @param body The body, or `null`.
   * @param options A signal that aborts this request; rejects with its reason.
   * @throws the same errors as {@linkcode Connection.prototype.request}.
   */
  post(
    uri: string,
    headers: HeaderDict,
    body: BodyOut,
    options?: RequestOptions,
  ): Promise<Response> {
    return this.request("POST", uri, headers, body, options);
  }

  /**
   * Makes a `GET` request: the same as `request("GET", uri, headers, null, options)`.
   *
   * @param uri The path, which starts with `/`, and the query.
   * @param headers The headers by lower-case name; not modified.
   * @param options A signal that aborts this request; rejects with its reason.
   * @throws the same errors as {@linkcode Connection.prototype.request}.
   */
  get(uri: string, headers: HeaderDict = {}, options?: RequestOptions): Promise<Response> {
    return this.request("GET", uri, headers, null, options);
  }

  /**
   * Makes a `HEAD` request: the same as `request("HEAD", uri, headers, null, options)`.
   *
   * @param uri The path, which starts with `/`, and the query.
   * @param headers The headers by lower-case name; not modified.
   * @param options A signal that aborts this request; rejects with its reason.
   * @throws the same errors as {@linkcode Connection.prototype.request}.
   */
  head(uri: string, headers: HeaderDict = {}, options?: RequestOptions): Promise<Response> {
    return this.request("HEAD", uri, headers, null, options);
  }

  /**
   * Makes a `DELETE` request: the same as `request("DELETE", uri, headers, null, options)`.
   *
   * @param uri The path, which starts with `/`, and the query.
   * @param headers The headers by lower-case name; not modified.
   * @param options A signal that aborts this request; rejects with its reason.
   * @throws the same errors as {@linkcode Connection.prototype.request}.
   */
  delete(uri: string, headers: HeaderDict = {}, options?: RequestOptions): Promise<Response> {
    return this.request("DELETE", uri, headers, null, options);
  }

  /**
   * Makes a `GET` request for the bytes from `start` up to, not including, `stop` (RFC 9110 §14.2). A server that
   * supports this responds with the status 206 and a `content-range`, others with 200 and everything.
   *
   * @param uri The path, which starts with `/`, and the query.
   * @param headers If they have a `range`, it must be the same one.
   * @param start The position of the first byte.
   * @param stop The position after the last byte.
   * @param options A signal that aborts this request; rejects with its reason.
   * @throws the same errors as {@linkcode Connection.prototype.request}.
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

  /** Closes the connection; pending operations reject. Closing it again has no effect. */
  close(): void {
    this.#transport.close();
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** What `console.log` and `Deno.inspect` show: all but the secrets in `baseHeaders`. */
  [INSPECT](inspect: (value: unknown, options?: unknown) => string, options: unknown): string {
    const { closed, baseHeaders, sock } = this;
    const shown = baseHeaders && hideSecrets(baseHeaders);
    return inspectFields("Connection", { closed, baseHeaders: shown, sock }, inspect, options);
  }

  static {
    closeAfterResponse = (connection) => {
      connection.#exchanges.closeAfterResponse();
      connection.#transport.addCloseListener(keepTimersForNext());
    };
    explainRefusal = (connection, hint) => connection.#exchanges.explainRefusal(hint);
    closeOn = (connection, signal) => connection.#transport.closeOn(signal);
  }
}

/** Copies headers and adds the requested range. */
function withRange(headers: HeaderDict, start: number, stop: number): HeaderDict {
  const range = new Range(start, stop);
  checkHeaderDict(headers);
  if (Object.hasOwn(headers, "range")) {
    const given = headers["range"];
    if (!isRange(given)) throw wrongType('headers["range"]', "a Range", given);
    if (given.start !== start || given.stop !== stop) {
      throw new RangeError(`headers["range"]: must be ${range} or left out; got ${given}`);
    }
  }
  return { ...headers, range };
}
