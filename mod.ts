/**
 * A secure, fast HTTP/1.1 client and server for device-to-device communication on a local network.
 *
 * - An app is a function from a request to a response, which a {@linkcode Server} or an
 *   {@linkcode SSLServer} serves.
 * - {@linkcode reply} and {@linkcode json} make responses. {@linkcode routes}, {@linkcode wrapApp},
 *   {@linkcode ProxyApp} and {@linkcode accessLog} help to write an app.
 * - A {@linkcode Client} or an {@linkcode SSLClient} makes requests. {@linkcode expectOk} throws a
 *   {@linkcode StatusError} for a status that is not a success, and {@linkcode retry} retries after
 *   errors that are {@linkcode isTransient}; {@linkcode isTimeout} reports whether a time limit has
 *   passed, and the fields of a {@linkcode ConnectionError} describe what happened, and where.
 * - {@linkcode repeat} runs an action repeatedly, {@linkcode runUntilSignal} runs a program
 *   until the system asks it to end, and {@linkcode serveUntilSignal} stops servers.
 * - {@linkcode fromFetchHandler} and {@linkcode createFetch} connect apps and clients with `fetch`.
 *
 * The other functions and classes come from `@degu/degu/base`, `@degu/degu/client` and
 * `@degu/degu/server`. This module has the names that most programs use; those three have the
 * others.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const hello = new TextEncoder().encode("hello, world");
 * await using server = await Server.start(["127.0.0.1", 0], () => [200, "OK", {}, hello]);
 * const response = await new Client(server.address).request("GET", "/");
 * assertEquals(await response.body?.text(), "hello, world");
 * ```
 *
 * @module
 */

export { accessLog } from "./apps/access_log.ts";
export { ProxyApp, type ProxyOptions } from "./apps/proxy.ts";
export { json, reply } from "./apps/reply.ts";
export { type RouteRequest, routes } from "./apps/routes.ts";
export { type NextApp, wrapApp } from "./apps/wrap_app.ts";
export { createFetch } from "./web/create_fetch.ts";
export {
  type FetchHandler,
  type FetchHandlerInfo,
  fromFetchHandler,
} from "./web/from_fetch_handler.ts";
export { repeat } from "./program/repeat.ts";
export { runUntilSignal } from "./program/termination.ts";
export {
  type Address,
  Body,
  BodyError,
  type BodyIn,
  BodyIter,
  type BodyOut,
  buildUri,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
  ConnectionClosedError,
  ConnectionError,
  ContentRange,
  DeguError,
  EmptyPreambleError,
  formatAddress,
  type HeadersToSend,
  type Method,
  parseAddress,
  type PeerCertificate,
  ProtocolError,
  Range,
  type ReceivedHeaders,
  Response,
  type Socket,
  SuffixRange,
  TlsError,
  UnsatisfiedRange,
} from "./base.ts";
export {
  buildClientSslctx,
  Client,
  type ClientOptions,
  type ClientSslconfig,
  type ClientSslctx,
  Connection,
  ConnectionPool,
  type ConnectionPoolOptions,
  type Connector,
  expectOk,
  isTimeout,
  isTransient,
  publicKey256,
  type Requester,
  type RequestMessage,
  type RequestOptions,
  retry,
  type RetryEvent,
  type RetryOptions,
  SSLClient,
  type SSLClientOptions,
  StatusError,
} from "./client.ts";
export {
  type Api,
  type App,
  type AppFunction,
  type AppObject,
  buildServerSslctx,
  type Exchange,
  type Logger,
  type PeerIdentity,
  Request,
  ResponseError,
  type ResponseTuple,
  Server,
  type ServerOptions,
  type ServerSslconfig,
  type ServerSslctx,
  serveUntilSignal,
  Session,
  SSLServer,
  type SSLServerOptions,
  standardLogger,
} from "./server.ts";
