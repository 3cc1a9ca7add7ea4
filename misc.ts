/**
 * For tests and demos: temporary servers and certificates, and requests and sessions.
 *
 * - {@linkcode callApp} calls an app without a server.
 * - {@linkcode TempServer} and {@linkcode TempSSLServer} run an app in a worker,
 *   {@linkcode TempPKI} makes certificates; {@linkcode mkreq} makes a request for an app, and
 *   {@linkcode mkSession} a session.
 *
 * All other names are types that these use, and the errors that they throw.
 *
 * @example
 * ```ts
 * import { SSLClient } from "@degu/degu/client";
 * import { TempPKI, TempSSLServer } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * await using pki = await TempPKI.create();
 * const { serverSslconfig, clientSslconfig } = pki;
 * const app = () => [200, "OK", { hello: "world" }, null] as const;
 * await using server = await TempSSLServer.start(serverSslconfig, ["127.0.0.1", 0], null, app);
 * const response = await new SSLClient(clientSslconfig, server.address).request("GET", "/");
 * assertEquals(response.headers.hello, "world");
 * ```
 *
 * @module
 */

export { mkreq } from "./misc/mkreq.ts";
export { mkSession, type SessionFields } from "./misc/session.ts";
export { callApp } from "./misc/call_app.ts";
export { type TempClientPKI, TempPKI, type TempPKIOptions } from "./misc/pki.ts";
export { TempServer, TempSSLServer } from "./misc/temp_server.ts";
export { ConnectionClosedError, ProtocolError } from "./base/errors.ts";
