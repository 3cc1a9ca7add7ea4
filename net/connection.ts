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
  outgoingFraming,
} from "../base/bodies.ts";
import {
  BodyError,
  ConnectionClosedError,
  DeguError,
  EmptyPreambleError,
  ProtocolError,
  typeName,
} from "../base/errors.ts";
import { checkHeaderDict } from "../base/header_format.ts";
import { type Framing, type HeaderDict, saysClose } from "../base/headers.ts";
import { hideSecrets, INSPECT, type Inspect, inspectFields } from "../base/inspect.ts";
import { Response } from "../base/message.ts";
import {
  checkMethod,
  checkResponseStart,
  formatRequestPreamble,
  type Method,
  parseResponsePreamble,
  type ResponsePreamble,
} from "../base/preamble.ts";
import { isRange, Range } from "../base/range.ts";
import { checkUri } from "../base/uri.ts";
import { checkTimeout } from "./deadline.ts";
import { type BodyOwner, makeIncomingBody } from "./incoming_body.ts";
import { Transport } from "./transport.ts";

/** Seconds that a wait may take where nothing else was asked for. */
export const DEFAULT_TIMEOUT = 90;

/**
 * After so long without bytes of the peer a request waits for a turn of the event loop. What has come
 * while the program computed is known only then, and must not be taken for the answer.
 */
const PAUSE_MILLISECONDS = 10;

const forgotten = new FinalizationRegistry<Transport>((transport) => transport.close());

/** Closes the socket of a connection that is collected. No closure here may know the connection. */
function closeWhenForgotten(connection: WeakKey, transport: Transport): void {
  forgotten.register(connection, transport, transport);
  transport.onClose = () => forgotten.unregister(transport);
}

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
  readonly #owner: BodyOwner;
  #inFlight = false;
  #bodyUnread = false;
  #closeAfterBody = false;

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
    this.#owner = {
      bodyConsumed: () => this.#finishBody(),
      bodyFailed: (error) => this.#transport.close(error),
      bodyCancelled: () => this.close(),
    };
    closeWhenForgotten(this, this.#transport);
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
   * @throws {TypeError} for an argument of a wrong type.
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
  ): Promise<Response> {
    let framing, length;
    try {
      this.#checkReady(method, uri, body);
      framing = outgoingFraming(body);
      const { out } = this.#transport;
      length = formatRequestPreamble(out, method, uri, headers, this.baseHeaders, framing);
    } catch (error) {
      cancelUnused(body, error);
      return Promise.reject(error);
    }
    this.#inFlight = true;
    return this.#exchange(method, length, body, framing);
  }

  #checkReady(method: Method, uri: string, body: BodyOut): void {
    if (this.closed) throw new ConnectionClosedError();
    if (this.#inFlight) throw new DeguError("another request is in flight on this connection");
    checkMethod(method);
    checkUri(uri);
    if (body !== null && method !== "PUT" && method !== "POST") {
      throw new RangeError(`body: need null where the method is ${method}`);
    }
    if (this.#bodyUnread) {
      throw new BodyError("the body of the previous response has not been read to its end");
    }
  }

  async #exchange(
    method: Method,
    length: number,
    body: BodyOut,
    framing: Framing,
  ): Promise<Response> {
    const transport = this.#transport;
    const { reader } = transport;
    let refusal: unknown = null;
    let answered = false;
    try {
      if (reader.buffered > 0) throw excessBytes();
      // What is there before the request is sent can't be an answer to it, and must never be taken
      // for one. A read that finds something settles within two turns.
      transport.readAhead();
      await null;
      await null;
      if (performance.now() - transport.lastArrival > PAUSE_MILLISECONDS) {
        await turnOfEventLoop();
      }
      if (transport.aheadSettled) await this.#refuseEarlyBytes();
      try {
        const rest = transport.sent(await transport.send(length, body, framing));
        if (rest !== null) await rest;
      } catch (thrown) {
        const error = transport.explain(thrown);
        if (!transport.writeFailed || transport.closed || !isReset(error)) throw error;
        // A server that refuses an upload answers and closes, and its answer may be here.
        refusal = error;
        this.#closeAfterBody = true;
      }
      let end;
      while ((end = transport.findPreamble()) < 0) transport.received(await transport.receive());
      transport.lastArrival = performance.now();
      const preamble = parseResponsePreamble(reader.bytes, reader.start, end);
      reader.start = end;
      if (refusal !== null && preamble.status < 400) throw refusal;
      answered = true;
      if (this.#endsByClosing(method, preamble)) await this.#expectEnd(refusal !== null);
      return this.#makeResponse(method, preamble);
    } catch (thrown) {
      const error = transport.explain(thrown);
      const reported = answered ? error : this.#explain(error, refusal);
      cancelUnused(body, reported);
      transport.close(reported);
      throw reported;
    } finally {
      this.#inFlight = false;
    }
  }

  async #refuseEarlyBytes(): Promise<never> {
    await this.#transport.takeAhead();
    if (this.#transport.reader.buffered > 0) throw excessBytes();
    throw new EmptyPreambleError("the peer had closed the connection before the request was sent");
  }

  /** The error to report: a reset before the first byte of a response is as good as an end. */
  #explain(error: unknown, refusal: unknown): unknown {
    const { closed, reader, failure } = this.#transport;
    if (closed || error === refusal || reader.buffered > 0) return error;
    const reset = isReset(error) && (refusal !== null || error === failure);
    if (reset) return new EmptyPreambleError("the peer reset the connection before it answered");
    return refusal === null || error instanceof EmptyPreambleError ? error : refusal;
  }

  /** Whether the response would have a body that ends with the connection (RFC 9112 §6.3, case 8). */
  #endsByClosing(method: Method, preamble: ResponsePreamble): boolean {
    checkPossible(preamble);
    const { status, headers, framing } = preamble;
    const closes = saysClose(headers);
    if (closes) this.#closeAfterBody = true;
    if (framing !== null || method === "HEAD" || status === 204 || status === 304) return false;
    if (this.#transport.reader.buffered > 0) throw unframedBody();
    return closes;
  }

  /** Reads on to the end of the connection, before which nothing may come. */
  async #expectEnd(refused: boolean): Promise<void> {
    try {
      if (await this.#transport.reader.fill() > 0) throw unframedBody();
    } catch (error) {
      // Where the connection broke while the request was sent, this is how its end is told.
      if (!refused || !isReset(error)) throw error;
    }
  }

  #makeResponse(method: Method, preamble: ResponsePreamble): Response {
    const { status, reason, headers } = preamble;
    const bodiless = method === "HEAD" || status === 304;
    const framing = bodiless ? null : preamble.framing;
    this.#bodyUnread = framing !== null;
    const body = makeIncomingBody(this.bodies, this.#transport, this.#owner, framing);
    if (body === null) this.#finishBody();
    return new Response(status, reason, headers, body);
  }

  #finishBody(): void {
    this.#bodyUnread = false;
    if (this.#closeAfterBody) this.close();
  }

  /** A `PUT` request: `request("PUT", uri, headers, body)`. */
  put(uri: string, headers: HeaderDict, body: BodyOut): Promise<Response> {
    return this.request("PUT", uri, headers, body);
  }

  /** A `POST` request: `request("POST", uri, headers, body)`. */
  post(uri: string, headers: HeaderDict, body: BodyOut): Promise<Response> {
    return this.request("POST", uri, headers, body);
  }

  /** A `GET` request: `request("GET", uri, headers, null)`. */
  get(uri: string, headers: HeaderDict = {}): Promise<Response> {
    return this.request("GET", uri, headers, null);
  }

  /** A `HEAD` request: `request("HEAD", uri, headers, null)`. */
  head(uri: string, headers: HeaderDict = {}): Promise<Response> {
    return this.request("HEAD", uri, headers, null);
  }

  /** A `DELETE` request: `request("DELETE", uri, headers, null)`. */
  delete(uri: string, headers: HeaderDict = {}): Promise<Response> {
    return this.request("DELETE", uri, headers, null);
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
  ): Promise<Response> {
    this.#checkReady("GET", uri, null);
    const range = new Range(start, stop);
    checkHeaderDict(headers);
    if (Object.hasOwn(headers, "range")) {
      const given = headers["range"];
      if (!isRange(given)) throw new TypeError('headers["range"]: need a Range');
      if (given.start !== start || given.stop !== stop) {
        throw new RangeError(`headers["range"]: ${given} is not the range that is asked for`);
      }
    }
    return await this.request("GET", uri, { ...headers, range }, null);
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
  [INSPECT](inspect: Inspect, options: unknown): string {
    const { closed, baseHeaders, sock } = this;
    const shown = baseHeaders && hideSecrets(baseHeaders);
    return inspectFields("Connection", { closed, baseHeaders: shown, sock }, inspect, options);
  }

  static {
    closeAfterResponse = (connection) => {
      connection.#closeAfterBody = true;
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

/** Refuses a response that no request of ours can have (RFC 9110 §15.2, §15.3.5). */
function checkPossible({ status, framing }: ResponsePreamble): void {
  if (status < 200) {
    const why = "interim responses are refused; a request has one response";
    throw new ProtocolError("UNEXPECTED_STATUS", `status ${status}: ${why}`);
  }
  if (status === 204 && framing !== null) {
    const why = "has no body; its content-length or transfer-encoding is refused";
    throw new ProtocolError("UNEXPECTED_STATUS", `status 204 ${why}`);
  }
}

function unframedBody(): ProtocolError {
  return new ProtocolError(
    "UNFRAMED_BODY",
    "the response has a body, but neither content-length nor transfer-encoding",
  );
}

/** Lets the runtime look at its sockets, which only a timer is sure to do. */
function turnOfEventLoop(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}

function excessBytes(): ProtocolError {
  return new ProtocolError("EXCESS_BYTES", "the peer sent bytes that no request has asked for");
}

function isReset(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.ConnectionAborted || error instanceof Deno.errors.BrokenPipe;
}
