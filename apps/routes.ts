import {
  type App,
  type AppFunction,
  type AppObject,
  disposeApp,
  joinOnConnect,
  type OnConnect,
  readApp,
} from "../base/app/app.ts";
import type { Request } from "../base/app/message.ts";
import { checkObject, notAllowedError } from "../internal/checks.ts";
import { quote } from "../internal/quote.ts";
import { checkMethod, type Method } from "../base/wire/method.ts";
import { checkUri } from "../base/wire/uri.ts";
import { reply } from "./reply.ts";

/** A request whose parameters are those of a route. */
export type RouteRequest<Key extends string> = Omit<Request, "parameters" | "with"> & {
  /** The path component for each name in braces, and the remaining path for `{name...}`. */
  readonly parameters: Key extends `${string}{${infer Name}}${infer Rest}` ?
      & { readonly [N in Name extends `${infer Whole}...` ? Whole : Name]: string }
      & RouteRequest<Rest>["parameters"]
    : Readonly<Record<never, string>>;
  with(changes: Parameters<Request["with"]>[0]): RouteRequest<Key>;
};

interface Variable {
  readonly name: string;
  readonly matchesRemainder: boolean;
}

interface Route {
  readonly components: readonly (string | Variable)[];
  readonly isMount: boolean;
  /**
   * The key by which routes are sorted: a literal component comes before a name, a name
   * before `{name...}`, and `{name...}` before a mount. The first match is used.
   */
  readonly sortKey: string;
  /** A mount has a single app, under the key `null`, for all methods. */
  readonly apps: Map<Method | null, {
    readonly components: Route["components"];
    readonly handle: AppFunction;
    readonly label: string;
  }>;
}

const VARIABLE_PATTERN = /^\{([A-Za-z_][A-Za-z0-9_]*)(\.\.\.)?\}$/;

/**
 * Makes an app from a table of apps.
 *
 * The key of an app is a method and a path, `"GET /lamp/{name}"`, percent-encoded like the path of
 * a request. A name in braces matches one component of the path, which is not empty, and
 * `{name...}` at the end matches one or more: `request.parameters` has the matched text. The app of
 * GET also answers HEAD. A path alone that ends with a slash, `"/files/"`, is the key of a mount:
 * its app gets all requests below the path, with the remaining components as their `path`. If
 * several keys match, a literal component precedes a name, a name precedes `{name...}`, and
 * `{name...}` precedes a mount. Without a match, the response is `404 Not Found`, or `405 Method
 * Not Allowed` with `allow` (RFC 9110 §15.5.6).
 *
 * The `onConnect` of every app must accept a peer, because the peer has not sent a request yet, and
 * all identities must have the same `user`. Disposing of the result disposes of its apps.
 *
 * @param table An app for each key.
 * @throws {TypeError} if the table is no object, or a value is no app.
 * @throws {RangeError} if a key has another form, a path can't occur in a request, a name comes
 * twice, two keys are the same route, there is no route, or an app whose `isMount` is true has a
 * key with a method and a literal component.
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
    readonly [K in Key]: K extends `${Method} /${string}` | "/" | `/${string}/`
      ? K extends `${string}/:${string}` ? "error: write {name} in place of :name"
      : K extends `${string}${"*" | "[" | "?"}${string}`
        ? "error: write {name} for a component, or {name...} for the rest of the path"
      : K extends `${string}//${string}` ? "error: a component of the path is empty"
      : AppFunction<RouteRequest<K>> | AppObject
      : string extends K ? App
      : "error: the key must be a method and a path, or for a mount a path that ends with /";
  },
): AppObject & AsyncDisposable {
  checkObject("table", table);
  const routesByShape = new Map<string, Route>();
  const onConnectByApp = new Map<App, OnConnect>();
  const distinctApps = new Set<App>();
  for (const [key, app] of Object.entries<App>(table)) {
    const label = `table[${quote(key)}]`;
    const { handle, onConnect } = readApp(app, label);
    const needsMount = typeof app === "object" && app.isMount === true;
    addRoute(routesByShape, key, handle, label, needsMount);
    distinctApps.add(app);
    if (onConnect !== null) onConnectByApp.set(app, onConnect);
  }
  if (routesByShape.size === 0) throw notAllowedError("table", "must have a route; got none");
  const sortedRoutes = [...routesByShape.values()].sort((a, b) => a.sortKey < b.sortKey ? -1 : 1);
  const routesApp: AppObject & AsyncDisposable = {
    isMount: true,
    handle(request, session, api) {
      const { method, path } = request;
      const matchingRoutes = sortedRoutes.filter((route) => matchesRoute(route, path));
      for (const { isMount, apps } of matchingRoutes) {
        const routeApp = apps.get(isMount ? null : method) ??
          (method === "HEAD" ? apps.get("GET") : undefined);
        if (routeApp === undefined) continue;
        const { components, handle } = routeApp;
        addRouteParameters(request, components);
        if (isMount) { for (const _component of components) request.shiftPath(); }
        return handle(request, session, api);
      }
      return matchingRoutes.length === 0
        ? reply(404)
        : reply(405, null, { allow: formatAllowedMethods(matchingRoutes) });
    },
    async [Symbol.asyncDispose]() {
      await using disposalStack = new AsyncDisposableStack();
      for (const app of distinctApps) disposalStack.defer(() => disposeApp(app));
    },
  };
  if (onConnectByApp.size > 0) routesApp.onConnect = joinOnConnect([...onConnectByApp.values()]);
  return routesApp;
}

function addRoute(
  routesByShape: Map<string, Route>,
  key: string,
  handle: AppFunction,
  label: string,
  needsMount: boolean,
): void {
  const { method, path } = splitKey(key, label);
  const isMount = method === null;
  const segments = path === "" ? [] : path.split("/");
  const variablesBySegment = segments.map((text) => parseVariable(text, label));
  const literalPath = parseLiterals(
    segments.map((text, i) => variablesBySegment[i]?.name ?? text),
    label,
  );
  const components = literalPath.map((literal, i) => variablesBySegment[i] ?? literal);
  const variables = components.filter((component) => typeof component !== "string");
  const remainderIndex = components.findIndex((component) =>
    typeof component !== "string" && component.matchesRemainder
  );
  if (remainderIndex >= 0 && (isMount || remainderIndex < components.length - 1)) {
    throw notAllowedError(label, `must have ${segments[remainderIndex]} at the end, and a method`);
  }
  // A key without a literal component, such as "GET /{path...}", gives the app its whole path.
  if (needsMount && !isMount && segments.some((segment) => /^[^{]/.test(segment))) {
    const mountKey = `/${path.replace(/\/?(\{\w+\.{3}\})?$/, "")}/`;
    throw notAllowedError(
      label,
      `must be a mount, ${quote(mountKey)}: this app answers by the path below it`,
    );
  }
  if (new Set(variables.map(({ name }) => name)).size < variables.length) {
    throw notAllowedError(label, `each name must occur once; got a duplicate`);
  }
  const kinds = components.map((component) =>
    typeof component === "string" ? "0" : component.matchesRemainder ? "2" : "1"
  );
  const sortKey = kinds.join("") + (isMount ? "3" : "");
  const literals = components.map((component) => typeof component === "string" ? component : null);
  const shape = JSON.stringify([sortKey, literals]);
  const route = routesByShape.getOrInsert(shape, { components, isMount, sortKey, apps: new Map() });
  const existingApp = route.apps.get(method);
  if (existingApp !== undefined) {
    throw notAllowedError(
      label,
      `must be the only one for its requests; ${existingApp.label} has the same`,
    );
  }
  route.apps.set(method, { components, handle, label });
}

/** Parses the segments of a key as the path of a request, which may also have other characters. */
function parseLiterals(segments: readonly string[], label: string): string[] {
  const path = `/${segments.join("/")}`;
  if (!path.isWellFormed()) throw notAllowedError(label, "must have no lone surrogate");
  return checkUri(path.replace(/[^\0-\x7f]+/g, encodeURIComponent), label).path;
}

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
  if (!path.startsWith("/") || furtherParts.length > 0) {
    throw notAllowedError(
      label,
      `must be a method, a space and a path, as in "GET /lamps"; a space in the path is %20`,
    );
  }
  return { method, path: path.slice(1) };
}

function parseVariable(text: string, label: string): Variable | null {
  const [, name, dots] = VARIABLE_PATTERN.exec(text) ?? [];
  if (name !== undefined) return { name, matchesRemainder: dots !== undefined };
  if (/[*?[]/.test(text)) {
    throw notAllowedError(
      label,
      "must have {name} for a component, or {name...} for the rest of the path, and %2A, %3F or " +
        `%5B for the character itself; a query is in request.searchParams; got ${quote(text)}`,
    );
  }
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
        `{name}, or {name...} at the end, and %7B for a brace; got ${quote(text)}`,
    );
  }
  return null;
}

function matchesRoute({ components, isMount }: Route, path: readonly string[]): boolean {
  // If the table itself is a mount, its root has two forms: no component, and an empty one.
  if (components.length === 0 && !isMount) return path.join("/") === "";
  const lastComponent = components.at(-1);
  const hasOpenEnd = isMount ||
    (typeof lastComponent === "object" && lastComponent.matchesRemainder);
  if (hasOpenEnd ? path.length < components.length : path.length !== components.length) {
    return false;
  }
  return components.every((component, i) =>
    typeof component === "string" ? component === path[i] : path[i] !== ""
  );
}

function addRouteParameters(request: Request, components: Route["components"]): void {
  if (components.every((component) => typeof component === "string")) return;
  const { path } = request;
  const parameters = Object.assign(Object.create(null), request.parameters);
  for (const [i, component] of components.entries()) {
    if (typeof component === "string") continue;
    parameters[component.name] = component.matchesRemainder ? path.slice(i).join("/") : path[i];
  }
  Object.assign(request, { parameters: Object.freeze(parameters) });
}

function formatAllowedMethods(matchingRoutes: readonly Route[]): string {
  const methods = new Set(matchingRoutes.flatMap(({ apps }) => [...apps.keys()]));
  if (methods.has("GET")) methods.add("HEAD");
  return [...methods].join(", ");
}
