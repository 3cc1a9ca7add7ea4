/**
 * The middleware that checks both sides of the contract between a server and an application.
 *
 * @module
 */

import type { Api, App, AppObject, Socket } from "../base/app/app.ts";
import { typeName } from "../base/errors.ts";
import type { Request, Response, ResponseTuple } from "../base/app/message.ts";
import type { Session } from "../base/app/session.ts";
import { type AppParts, readApp } from "../base/app/app_parts.ts";
import { checkApi, checkRequest, checkSession, checkSocket } from "./request_rules.ts";
import { checkResponse } from "./response_rules.ts";

/**
 * Wraps an application and checks every rule of the contract: what the server hands to it, and what
 * it returns. A broken rule is an error whose message begins with the place:
 * `response[2]["Content-Type"]: bad name …`.
 *
 * A server checks a response, too, before it sends it. This says more, checks the server as well,
 * and works without one: for tests of applications, servers and middleware.
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
   * Wraps an application.
   *
   * @throws {TypeError} where `app` is not an application.
   */
  constructor(app: App) {
    this.#app = readApp(app, "app");
  }

  /**
   * Hands a request on, and passes on what the application returns, as it is.
   *
   * @throws {TypeError} where something has a wrong type.
   * @throws {RangeError} where something has a value that is not allowed.
   * @throws {BodyError} where a body is in a state in which it must not be.
   */
  async handle(request: Request, session: Session, api: Api): Promise<ResponseTuple | Response> {
    checkRequest(request);
    checkSession(session);
    checkApi(api);
    const response = await this.#app.handle(request, session, api);
    await checkResponse(response, request);
    return response;
  }

  /**
   * Asks the application, where it has a say; else lets every peer in.
   *
   * @throws {TypeError} where the application answers with something else than `true` or `false`.
   */
  async onConnect(session: Session, sock: Socket): Promise<boolean> {
    checkSession(session);
    checkSocket(sock);
    if (this.#app.onConnect === null) return true;
    const answer: unknown = await this.#app.onConnect(session, sock);
    if (typeof answer === "boolean") return answer;
    throw new TypeError(`onConnect: need true or false; got ${typeName(answer)}`);
  }
}
