/** An app that is a table: an app for each method and path, or for everything below a path. */

import {
  type App,
  type AppFunction,
  type AppObject,
  disposeApp,
  type OnConnect,
  readApp,
} from "../base/app/app.ts";
import { addParameters, type Request, type RequestChanges } from "../base/app/message.ts";
import {
  joinIdentities,
  parseConnectResult,
  type PeerIdentity,
} from "../base/app/peer_identity.ts";
import { checkObject, notAllowedError } from "../internal/checks.ts";
import { quote } from "../internal/quote.ts";
import { checkMethod, type Method } from "../base/wire/preamble.ts";
import { checkUri } from "../base/wire/uri.ts";
import { reply } from "./reply.ts";

/**
 * A method and a path, such as `"GET /lamp/{name}"`; or, for everything below a path, the path and
 * a slash: `"/files/"`.
 */
export type RouteKey = `${Method} /${string}` | "/" | `/${string}/`;

/** The component of the path for each name in braces, and what is left of it for `{name...}`. */
export type RouteParameters<Key extends string> = Key extends
  `${string}{${infer Name}}${infer Rest}` ?
    & { readonly [N in Name extends `${infer Whole}...` ? Whole : Name]: string }
    & RouteParameters<
      Rest
    >
  : Readonly<Record<never, string>>;

/** A request whose parameters are those of a route. */
export type RouteRequest<Key extends string> = Omit<Request, "parameters" | "with"> & {
  readonly parameters: RouteParameters<Key>;
  with(changes: RequestChanges): RouteRequest<Key>;
};

/** An app in a table: a function gets a request with the parameters that its key names. */
export type RouteApp<Key extends string> =
  | AppFunction<RouteRequest<Key>>
  | AppObject;

/** A component that stands for a part of the path, and its name. */
interface Variable {
  readonly name: string;
  /** Whether it stands for all components that are left. */
  readonly isRest: boolean;
}

/** The app of a key, with the names of that key. */
interface RouteHandler {
  readonly components: Route["components"];
  readonly handle: AppFunction;
  /** The key, for errors. */
  readonly label: string;
}

/** A path with its apps. */
interface Route {
  readonly components: readonly (string | Variable)[];
  /** Whether it stands for everything below the path. */
  readonly isMount: boolean;
  /** Sorts the paths: a component goes before a name, that before a rest, that before a mount. */
  readonly order: string;
  /** The apps by method, each with its own names; `null` is for all methods, of a mount. */
  readonly apps: Map<Method | null, RouteHandler>;
}

const VARIABLE = /^\{([A-Za-z_][A-Za-z0-9_]*)(\.\.\.)?\}$/;

/**
 * Makes an app from a table of apps.
 *
 * The key of an app is a method and a path, `"GET /lamp/{name}"`. A name in braces stands for one
 * component of the path, which is not empty, and `{name...}` at the end for one or more:
 * `request.parameters` has what they stand for. The app of GET answers HEAD, too, unless HEAD has
 * one of its own. A path alone that ends with a slash, `"/files/"`, is the key of an app for
 * everything below it, whose requests have the rest as their `path`: `[]` for `/files`, and `[""]`
 * for `/files/`. A component goes before a name, a name before a rest, a rest before everything
 * below.
 *
 * A path that nothing in the table fits is answered with `404 Not Found`, another method than those
 * of its apps with `405 Method Not Allowed` and `allow` (RFC 9110 §15.5.6).
 *
 * When a peer connects, every app in the table that has an `onConnect` is asked, each object once,
 * in the order of the table. The peer is accepted if each returns exactly `true` or an identity,
 * and all identities have the same `user`. All must agree because the peer's requests are not known
 * yet. Disposing of the result disposes of its apps.
 *
 * @param table An app for each key.
 * @throws {TypeError} if the table is no object, or a value is no app.
 * @throws {RangeError} if a key has another form, a path can't occur in a request, a name comes
 * twice, two keys are the same route, or there is no route.
 *
 * @example
 * ```ts
 * import { Client, json, reply, routes, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const lamps = new Map([["kitchen", "off"]]);
 * const app = routes({
 *   "GET /lamps": () => json([...lamps.keys()]),
 *   "GET /lamp/{name}": ({ parameters: { name } }) => reply(200, lamps.get(name) ?? "none"),
 *   "PUT /lamp/{name}": async (request) => {
 *     lamps.set(request.parameters.name, await request.text({ maxBytes: 3 }));
 *     return reply(204);
 *   },
 * });
 * await using server = await Server.start(["127.0.0.1", 0], app);
 * const client = new Client(server.address);
 * await client.request("PUT", "/lamp/kitchen", {}, "on");
 * assertEquals(await (await client.request("GET", "/lamp/kitchen")).text(), "on");
 * assertEquals((await client.request("DELETE", "/lamps")).headers["allow"], "GET, HEAD");
 * ```
 */
export function routes<Key extends string>(
  table: {
    readonly [K in Key]: K extends `${string}/:${string}` | `${string}//${string}` ? never
      : K extends RouteKey ? RouteApp<K>
      : string extends K ? App
      : never;
  },
): AppObject {
  checkObject("table", table);
  const routesByShape = new Map<string, Route>();
  const connectHandlers = new Map<App, OnConnect>();
  const apps = new Set<App>();
  for (const [key, app] of Object.entries<App>(table)) {
    const label = `table[${quote(key)}]`;
    const { handle, onConnect } = readApp(app, label);
    addRoute(routesByShape, key, handle, label);
    apps.add(app);
    if (onConnect !== null) connectHandlers.set(app, onConnect);
  }
  if (routesByShape.size === 0) throw notAllowedError("table", "must have a route; got none");
  const sortedRoutes = [...routesByShape.values()].sort((a, b) => a.order < b.order ? -1 : 1);
  const app: AppObject = {
    handle(request, session, api) {
      const { method, path } = request;
      const matchingRoutes = sortedRoutes.filter((route) => isPathOf(route, path));
      for (const { isMount, apps } of matchingRoutes) {
        const app = apps.get(isMount ? null : method) ??
          (method === "HEAD" ? apps.get("GET") : undefined);
        if (app === undefined) continue;
        const { components, handle } = app;
        addRouteParameters(request, components);
        if (isMount) { for (const _component of components) request.shiftPath(); }
        return handle(request, session, api);
      }
      return matchingRoutes.length === 0
        ? reply(404)
        : reply(405, null, { allow: methodsOf(matchingRoutes) });
    },
    async [Symbol.asyncDispose]() {
      await using disposing = new AsyncDisposableStack();
      for (const app of apps) disposing.defer(() => disposeApp(app));
    },
  };
  if (connectHandlers.size === 0) return app;
  app.onConnect = async (session, sock) => {
    let joinedIdentity: PeerIdentity | null = null;
    for (const onConnect of connectHandlers.values()) {
      const decision = parseConnectResult(await onConnect(session, sock));
      if (decision === false) return false;
      if (decision === true) continue;
      joinedIdentity = joinedIdentity === null
        ? decision
        : joinIdentities(joinedIdentity, decision);
    }
    return joinedIdentity ?? true;
  };
  return app;
}

function addRoute(
  routesByShape: Map<string, Route>,
  key: string,
  handle: AppFunction,
  label: string,
): void {
  const { method, path } = splitKey(key, label);
  const isMount = method === null;
  const segments = path === "" ? [] : path.split("/");
  const components = segments.map((text) => readComponent(text, label));
  const variables = components.filter((each) => typeof each !== "string");
  const example = components.map((each) => typeof each === "string" ? each : each.name);
  checkUri(`/${example.join("/")}`, label);
  const restIndex = components.findIndex((each) => typeof each !== "string" && each.isRest);
  if (restIndex >= 0 && (isMount || restIndex < components.length - 1)) {
    throw notAllowedError(label, `must have ${segments[restIndex]} at the end, and a method`);
  }
  if (new Set(variables.map(({ name }) => name)).size < variables.length) {
    throw notAllowedError(label, `each name must come once; got one twice`);
  }
  const kinds = components.map((each) => typeof each === "string" ? "0" : each.isRest ? "2" : "1");
  const order = kinds.join("") + (isMount ? "3" : "");
  const literals = components.map((each) => typeof each === "string" ? each : null);
  const shape = JSON.stringify([order, literals]);
  const route = routesByShape.get(shape) ?? { components, isMount, order, apps: new Map() };
  const existingHandler = route.apps.get(method);
  if (existingHandler !== undefined) {
    throw notAllowedError(
      label,
      `must be the only one for its requests; ${existingHandler.label} has the same`,
    );
  }
  route.apps.set(method, { components, handle, label });
  routesByShape.set(shape, route);
}

/** The method of a key, `null` for everything below, and its path without the outer slashes. */
function splitKey(key: string, label: string): { method: Method | null; path: string } {
  if (key.startsWith("/")) {
    if (key === "/" || /[^/]\/$/.test(key)) return { method: null, path: key.slice(1, -1) };
    throw notAllowedError(
      label,
      `must be a method and a path, ${quote(`GET ${key}`)}, or end with a slash, for ` +
        `everything below: ${quote(`${key}/`)}`,
    );
  }
  const [method, path = "", ...furtherParts] = key.split(" ") as [Method, ...string[]];
  checkMethod(method, label);
  if (!path.startsWith("/") || path.includes("?") || furtherParts.length > 0) {
    throw notAllowedError(label, `must be a method, a space and a path, as in "GET /lamps"`);
  }
  return { method, path: path.slice(1) };
}

function readComponent(text: string, label: string): string | Variable {
  const [, name, dots] = VARIABLE.exec(text) ?? [];
  if (name !== undefined) return { name, isRest: dots !== undefined };
  if (text.startsWith(":")) {
    throw notAllowedError(
      label,
      `must have a name in braces, {${text.slice(1)}}; got ${quote(text)}`,
    );
  }
  if (/[{}]/.test(text)) {
    throw notAllowedError(
      label,
      `must have a name of letters, digits and _ in braces that are a whole component, ` +
        `{name}, or {name...} at the end; got ${quote(text)}`,
    );
  }
  return text;
}

/** Whether a path is that of a route. */
function isPathOf({ components, isMount }: Route, path: readonly string[]): boolean {
  // Below a mount an empty rest has two spellings.
  if (components.length === 0 && !isMount) return path.join("/") === "";
  const last = components.at(-1);
  const hasOpenEnd = isMount || (typeof last === "object" && last.isRest);
  if (hasOpenEnd ? path.length < components.length : path.length !== components.length) {
    return false;
  }
  return components.every((each, i) =>
    typeof each === "string" ? each === path[i] : path[i] !== ""
  );
}

/** Adds what the names of a route stand for to the parameters of a request. */
function addRouteParameters(request: Request, components: Route["components"]): void {
  const { path } = request;
  const parameters: Record<string, string> = Object.create(null);
  let isEmpty = true;
  for (const [i, each] of components.entries()) {
    if (typeof each === "string") continue;
    parameters[each.name] = each.isRest ? path.slice(i).join("/") : path[i]!;
    isEmpty = false;
  }
  if (!isEmpty) addParameters(request, parameters);
}

/** The methods that some routes answer, for `allow`. */
function methodsOf(matchingRoutes: readonly Route[]): string {
  const methods = new Set(matchingRoutes.flatMap(({ apps }) => [...apps.keys()]));
  if (methods.has("GET")) methods.add("HEAD");
  return [...methods].join(", ");
}
