import {
  type Api,
  type App,
  APP_HOOKS,
  type AppFunction,
  type AppObject,
  type AppParts,
  callHandle,
  joinOnConnect,
  readApp,
} from "../base/app/app.ts";
import { cancelAppResult, responseOf } from "../base/app/app_result.ts";
import type { Request, Response } from "../base/app/message.ts";
import { checkOnConnectResult } from "../base/app/peer_identity.ts";
import type { Session } from "../base/app/session.ts";
import type { BodyOut } from "../base/body/sent_body.ts";
import { checkFunction, copyOptions } from "../internal/checks.ts";

/**
 * A function that calls the wrapped app, with the arguments of the wrapper unless other arguments
 * are passed. The promise resolves to the `Response` that the app returns, or throws as a
 * {@linkcode ResponseError}; to a 413 if the body is too long for the app; and to a 400 if the body
 * is not JSON. The promise rejects with any other error.
 */
export type NextApp<R extends Request = Request> = (
  request?: R,
  session?: Session,
  api?: Api,
) => Promise<Response<BodyOut>>;

/**
 * Wraps an app in a function that gets each request first.
 *
 * If the app is a function, the result is a function for requests of the same type. If the app is
 * an object, the result is an object with the app's `isMount` and its hooks: its `onConnect`,
 * without which a wrapper would accept every client, and its disposal. If the app has no
 * `onConnect`, the result has none.
 *
 * @param app The app to wrap.
 * @param handle Answers a request. `next()` resolves to the response of the app.
 * @throws {TypeError} if `app` is not an app, or `handle` is not a function.
 *
 * @example
 * ```ts
 * import { type App, Client, reply, Server, wrapApp } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const app: App = () => reply(200, "hello");
 * const guarded = wrapApp(app, async (next, request) => {
 *   if (request.headers["x-key"] !== "secret") return reply(403);
 *   const { status, reason, headers, body } = await next();
 *   return [status, reason, { ...headers, "cache-control": "no-store" }, body];
 * });
 * await using server = await Server.start(["127.0.0.1", 0], guarded);
 * const client = new Client(server.address);
 * assertEquals((await client.request("GET", "/")).status, 403);
 * const { headers } = await client.request("GET", "/", { "x-key": "secret" });
 * assertEquals(headers["cache-control"], "no-store");
 * ```
 */
export function wrapApp<R extends Request = Request>(
  app: AppFunction<R>,
  handle: (next: NextApp<R>, ...args: Parameters<AppFunction<R>>) => ReturnType<AppFunction>,
): AppFunction<R>;
/** Wraps an app that is an object. */
export function wrapApp(
  app: AppObject,
  handle: (next: NextApp, ...args: Parameters<AppFunction>) => ReturnType<AppFunction>,
): AppObject;
/**
 * Adds an `onConnect` to an app. A peer is accepted if the added function accepts it, and then the
 * `onConnect` of the app, if it has one. If both return an identity, both must trust the peer, and
 * have the same `user`.
 *
 * @param app The app to wrap.
 * @param wrapper An object with the function, and nothing else.
 * @throws {TypeError} if an argument is of a wrong type.
 *
 * @example Accept one peer
 * ```ts
 * import { type App, publicKey256, reply, SSLClient, SSLServer, wrapApp } from "@degu/degu";
 * import { TempPKI } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * await using pki = await TempPKI.create();
 * const key = publicKey256(await Deno.readTextFile(pki.clientSslconfig.certFile!));
 * const app: App = () => reply(200, "hello");
 * const guarded = wrapApp(app, {
 *   onConnect: ({ peerCertificate }) => peerCertificate?.publicKey256 === key,
 * });
 * await using server = await SSLServer.start(pki.serverSslconfig, ["127.0.0.1", 0], guarded);
 * const client = new SSLClient(pki.clientSslconfig, server.address);
 * assertEquals(await (await client.get("/")).text(), "hello");
 * ```
 */
export function wrapApp(
  app: App,
  wrapper: { onConnect: NonNullable<AppObject["onConnect"]> },
): AppObject;
/** Wraps an app of either form. */
export function wrapApp(
  app: App,
  handle: (next: NextApp, ...args: Parameters<AppFunction>) => ReturnType<AppFunction>,
): App;
export function wrapApp(
  app: App,
  wrapper:
    | ((next: NextApp, ...args: Parameters<AppFunction>) => ReturnType<AppFunction>)
    | { onConnect: NonNullable<AppObject["onConnect"]> },
): App {
  const parts = readApp(app, "app");
  if (typeof wrapper === "object") return addOnConnect(app, parts, wrapper);
  checkFunction("handle", wrapper);
  const wrappedApp: AppFunction = (request, session, api) => {
    const next: NextApp = async (...[givenRequest, givenSession, givenApi]) => {
      const nextRequest = givenRequest ?? request;
      const { body } = nextRequest;
      const appResult = await callHandle(
        parts,
        nextRequest,
        givenSession ?? session,
        givenApi ?? api,
      );
      try {
        return responseOf(appResult);
      } catch (error) {
        cancelAppResult(appResult, body, error);
        throw error;
      }
    };
    return wrapper(next, request, session, api);
  };
  return typeof app === "function" ? wrappedApp : replaceHandle(app, wrappedApp);
}

function replaceHandle(app: AppObject, handle: AppFunction): AppObject {
  const object: AppObject = { handle };
  if (app.isMount !== undefined) Object.assign(object, { isMount: app.isMount });
  for (const hook of APP_HOOKS) {
    if (app[hook] === undefined) continue;
    // Like a server, look up the hook at each call. Call the hook as a method of the app, because
    // it may use private fields.
    const callHook = (...args: never[]) => (app[hook] as (...args: never[]) => unknown)(...args);
    Object.assign(object, { [hook]: callHook });
  }
  return object;
}

function addOnConnect(
  app: App,
  { handle, onConnect }: AppParts,
  wrapper: { onConnect: NonNullable<AppObject["onConnect"]> },
): AppObject {
  copyOptions(wrapper, ["onConnect"], "wrapper");
  checkFunction("wrapper.onConnect", wrapper.onConnect);
  const object: AppObject = typeof app === "function" ? { handle } : replaceHandle(app, handle);
  object.onConnect = joinOnConnect([
    async (session, sock) => checkOnConnectResult(await wrapper.onConnect(session, sock)),
    ...(onConnect === null ? [] : [onConnect]),
  ]);
  return object;
}
