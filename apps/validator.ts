/**
 * The middleware that checks both sides of the contract between a server and an app.
 *
 * @module
 */

import {
  type Api,
  type App,
  type AppObject,
  type AppParts,
  readApp,
  type Socket,
} from "../base/app/app.ts";
import { wrongType } from "../base/checks.ts";
import type { Request, Response, ResponseTuple } from "../base/app/message.ts";
import type { Session } from "../base/app/session.ts";
import { checkApi, checkRequest, checkSession, checkSocket } from "./request_rules.ts";
import { checkResponse } from "./response_rules.ts";

/**
 * Wraps an app and checks every rule of the contract: what the server hands to it, and what it
 * returns. A broken rule is an error whose message begins with what is wrong:
 * `response[2]["Content-Type"]: the name must be …`.
 *
 * A server also checks each response before sending it. A validator additionally checks the server, and works
 * without one: use it to test apps, servers and middleware.
 *
 * @example
 * ```ts
 * import { type App, Client, Server, Validator } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const app: App = () => [200, "OK", { hello: "world" }, null];
 * await using server = new Server(["127.0.0.1", 0], new Validator(app));
 * server.serveForever();
 * assertEquals((await new Client(server.address).request("GET", "/")).status, 200);
 * ```
 */
export class Validator implements AppObject {
  readonly #app: AppParts;

  /**
   * Wraps an app.
   *
   * @param app The app to check.
   * @throws {TypeError} if `app` is not an app.
   */
  constructor(app: App) {
    this.#app = readApp(app, "app");
  }

  /**
   * Passes a request on, and returns what the app returns, unchanged.
   *
   * @param request The request.
   * @param session The connection that it came over.
   * @param api The classes to make a response from.
   * @throws {TypeError} if something has a wrong type.
   * @throws {RangeError} if something has a value that is not allowed.
   * @throws {BodyError} if a body is not in a state that allows the request or the response.
   */
  async handle(request: Request, session: Session, api: Api): Promise<ResponseTuple | Response> {
    checkRequest(request);
    checkSession(session);
    checkApi(api);
    // Copied now: an app can replace the fields of a request.
    const { method, body } = request;
    const response = await this.#app.handle(request, session, api);
    checkResponse(response, { method, body });
    return response;
  }

  /**
   * Asks the app whether to accept a peer; accepts every peer if the app has no `onConnect`.
   *
   * @param session The session that begins.
   * @param sock The socket of the connection.
   * @throws {TypeError} if the app returns anything but `true` or `false`.
   */
  async onConnect(session: Session, sock: Socket): Promise<boolean> {
    checkSession(session);
    checkSocket(sock);
    if (this.#app.onConnect === null) return true;
    const allowed: unknown = await this.#app.onConnect(session, sock);
    if (typeof allowed === "boolean") return allowed;
    throw wrongType("onConnect", "a function that returns true or false", allowed);
  }
}
