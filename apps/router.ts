/** An app that passes each request to another app, by its path. */

import {
  type Api,
  type App,
  type AppFunction,
  type AppObject,
  disposeApp,
  type OnConnect,
  readApp,
  type Socket,
} from "../base/app/app.ts";
import { wrongType } from "../base/checks.ts";
import { quote } from "../base/quote.ts";
import { MAX_ROUTER_DEPTH } from "../base/wire/limits.ts";
import type { Request } from "../base/app/message.ts";
import type { Session } from "../base/app/session.ts";
import { allows, PATH } from "../base/wire/tables.ts";

/**
 * Maps components of a path to apps. The key is `null` for a path without more components, and `""`
 * for a path that ends with a slash. A nested map decides by the next component.
 */
export type AppMap = ReadonlyMap<string | null, App | AppMap | AppEntries | AppRecord>;
/**
 * The entries of such a map, in an array: TypeScript infers no type for a `Map` with both apps and
 * maps as values.
 */
export type AppEntries = readonly (readonly [
  key: string | null,
  app: App | AppMap | AppEntries | AppRecord,
])[];
/**
 * Apps and nested maps by the keys of a plain object, which can't be `null`. In such an object an
 * object whose `handle` is a function is an app.
 */
export interface AppRecord {
  /** The app, or a nested map, for a component of the path. */
  readonly [component: string]: App | AppMap | AppEntries | AppRecord;
}

/** A copy of such a map, with the function of each app. */
type Routes = ReadonlyMap<string | null, AppFunction | Routes>;

/**
 * Passes each request to the app that a map names for its path, and answers `410 Gone` if the map
 * names none.
 *
 * Each map on the way shifts one component of the path to `mount`, so the app sees only the rest of
 * the path.
 *
 * When a peer connects, every app in the map that has an `onConnect` is asked, each object once, in
 * the order of the map; the peer is accepted if all of them return exactly `true`. All apps must
 * agree because the peer's requests are not known yet.
 *
 * @example
 * ```ts
 * import { type App, Client, Router, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const echoPath: App = (request) => [200, "OK", { path: request.buildProxyUri() }, null];
 * const router = new Router({ echo: echoPath, api: { v1: echoPath } });
 *
 * await using server = new Server(["127.0.0.1", 0], router);
 * server.serveForever();
 * const client = new Client(server.address);
 * assertEquals((await client.request("GET", "/api/v1/foo?bar")).headers["path"], "/foo?bar");
 * assertEquals((await client.request("GET", "/api/v2/foo")).status, 410);
 * ```
 */
export class Router implements AppObject {
  readonly #routes: Routes;
  readonly #askers: readonly OnConnect[];
  readonly #apps: ReadonlySet<App>;

  /**
   * Makes a router from a plain object, a map or its entries, which are copied together with all
   * nested maps.
   *
   * @param appmap An app, or another map, for each component of a path.
   * @throws {TypeError} if a map is not a plain object, a `Map` or an array of entries, a key is
   * neither a string nor `null`, or a value is neither an app nor a map.
   * @throws {RangeError} if a key can't be a component of a path or comes twice, or more than 10
   * maps are nested.
   */
  constructor(appmap: AppMap | AppEntries | AppRecord) {
    const askers = new Map<App, OnConnect>();
    const apps = new Set<App>();
    this.#routes = copyMap(appmap, "appmap", 1, askers, apps);
    this.#askers = [...askers.values()];
    this.#apps = apps;
  }

  /**
   * Passes a request on; answers `410 Gone` if the map has no app for its path.
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
    let target: AppFunction | Routes | undefined = this.#routes;
    while (typeof target === "object") target = target.get(request.shiftPath());
    if (target === undefined) return [410, "Gone", {}, null];
    return target(request, session, api);
  }

  /**
   * Accepts a peer if every app in the map does.
   *
   * @param session The session that begins.
   * @param sock The socket of the connection.
   * @throws the errors of an app.
   */
  async onConnect(session: Session, sock: Socket): Promise<boolean> {
    for (const onConnect of this.#askers) {
      if (await onConnect(session, sock) !== true) return false;
    }
    return true;
  }

  /** Disposes of every app in the map that can be disposed of, each object once. */
  async [Symbol.asyncDispose](): Promise<void> {
    await using disposing = new AsyncDisposableStack();
    for (const app of this.#apps) disposing.defer(() => disposeApp(app));
  }
}

function copyMap(
  appmap: unknown,
  label: string,
  depth: number,
  askers: Map<App, OnConnect>,
  apps: Set<App>,
): Routes {
  const entries = entriesOf(appmap, label);
  // A map that contains itself ends here, too.
  if (depth > MAX_ROUTER_DEPTH) {
    throw new RangeError(`${label}: must be at most ${MAX_ROUTER_DEPTH} nested maps; got more`);
  }
  const routes = new Map<string | null, AppFunction | Routes>();
  for (const [key, value] of entries) {
    if (key !== null && typeof key !== "string") {
      throw wrongType(label, "a map whose keys are strings or null", key);
    }
    if (key !== null && (key === ".." || !allows(PATH, key))) {
      throw new RangeError(
        `${label}: a key must be a component of a path (letters, digits and - + . : _ ~, not ".."); ` +
          `got ${quote(key)}`,
      );
    }
    const valueLabel = `${label}[${key === null ? "null" : quote(key)}]`;
    if (routes.has(key)) throw new RangeError(`${valueLabel}: must come once; got it twice`);
    if (value instanceof Map || Array.isArray(value) || isPlain(value) && !isApp(value)) {
      routes.set(key, copyMap(value, valueLabel, depth + 1, askers, apps));
      continue;
    }
    const app = value as App;
    const { handle, onConnect } = readApp(app, valueLabel);
    routes.set(key, handle);
    apps.add(app);
    if (onConnect !== null) askers.set(app, onConnect);
  }
  return routes;
}

/** Whether a value is an object of no class. */
function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function isApp({ handle }: Record<string, unknown>): boolean {
  return typeof handle === "function";
}

/** Returns the pairs of a map, of a plain object, or of an array that has nothing else. */
function entriesOf(appmap: unknown, label: string): readonly (readonly [unknown, unknown])[] {
  if (appmap instanceof Map) return [...appmap];
  if (isPlain(appmap)) return Object.entries(appmap);
  if (!Array.isArray(appmap)) {
    throw wrongType(label, "a plain object, a Map or an array of entries [key, app]", appmap);
  }
  for (const [i, entry] of appmap.entries()) {
    if (Array.isArray(entry) && entry.length === 2) continue;
    throw wrongType(`${label}[${i}]`, "an entry [key, app]", entry);
  }
  return appmap;
}
