/** Middleware that allows only some methods. */

import {
  type Api,
  type App,
  type AppFunction,
  type AppObject,
  type AppParts,
  readApp,
  type Socket,
} from "../base/app/app.ts";
import { makeEmptyResponse, type Request } from "../base/app/message.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import { checkMethod, type Method } from "../base/wire/preamble.ts";
import type { Session } from "../base/app/session.ts";

function checkMethods(methods: Iterable<Method>): ReadonlySet<Method> {
  const checked = new Set<Method>();
  for (const method of methods) {
    checkMethod(method);
    checked.add(method);
  }
  return checked;
}

/**
 * A set of allowed methods. It can wrap any number of apps.
 *
 * @example
 * ```ts
 * import { AllowedMethods, type App, Client, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const app: App = () => [200, "OK", {}, null];
 * const readOnly = new AllowedMethods("GET", "HEAD");
 *
 * await using server = new Server(["127.0.0.1", 0], readOnly.wrap(app));
 * server.serveForever();
 * const client = new Client(server.address);
 * assertEquals((await client.request("GET", "/")).status, 200);
 * assertEquals((await client.request("DELETE", "/")).status, 405);
 * ```
 */
export class AllowedMethods {
  readonly #methods: ReadonlySet<Method>;

  /**
   * Allows these methods only.
   *
   * @param methods The methods of the requests that are passed on.
   * @throws {TypeError} if a method is not a string.
   * @throws {RangeError} if a method is not GET, HEAD, DELETE, PUT or POST.
   */
  constructor(...methods: Method[]) {
    this.#methods = checkMethods(methods);
  }

  /** The methods, each once. */
  get methods(): readonly Method[] {
    return [...this.#methods];
  }

  /**
   * Makes an app that passes on the requests with one of the methods.
   *
   * @param app The app that gets those requests.
   * @throws {TypeError} if `app` is not an app.
   */
  wrap(app: App): MethodFilter {
    return new MethodFilter(app, this.#methods);
  }
}

/**
 * An app that is called for some methods only. Every other method is answered with
 * `405 Method Not Allowed`, an empty body, and an `allow` that names the methods (RFC 9110
 * §15.5.6). {@linkcode AllowedMethods.prototype.wrap} makes such an app.
 */
export class MethodFilter implements AppObject {
  readonly #app: AppParts;
  readonly #methods: ReadonlySet<Method>;
  readonly #refusal: HeaderDict;

  /** @internal */
  constructor(app: App, methods: Iterable<Method>) {
    this.#app = readApp(app, "app");
    this.#methods = checkMethods(methods);
    // A header can't have an empty value, so without any allowed method there is no `allow`.
    this.#refusal = this.#methods.size === 0 ? {} : { allow: [...this.#methods].join(", ") };
  }

  /**
   * Passes a request on, or answers `405 Method Not Allowed`.
   *
   * @param request The request.
   * @param session The connection of the request.
   * @param api The classes to make a response from.
   * @throws the errors of the app.
   */
  handle(
    request: Request,
    session: Session,
    api: Api,
  ): ReturnType<AppFunction> {
    const { method } = request;
    if (!this.#methods.has(method)) {
      return makeEmptyResponse(method, 405, "Method Not Allowed", { ...this.#refusal });
    }
    return this.#app.handle(request, session, api);
  }

  /**
   * Asks the app whether to accept a peer; accepts every peer if the app has no `onConnect`.
   *
   * @param session The session that begins.
   * @param sock The socket of the connection.
   * @throws the errors of the app.
   */
  onConnect(session: Session, sock: Socket): boolean | Promise<boolean> {
    return this.#app.onConnect === null || this.#app.onConnect(session, sock);
  }
}
