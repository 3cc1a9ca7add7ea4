/** An app that is a table: a function for each method and path. */

import type { Api, AppFunction } from "../base/app/app.ts";
import type { Request } from "../base/app/message.ts";
import type { Session } from "../base/app/session.ts";
import { checkFunction, checkObject } from "../base/checks.ts";
import { quote } from "../base/quote.ts";
import { checkMethod, type Method } from "../base/wire/preamble.ts";
import { checkUri, parseUri } from "../base/wire/uri.ts";
import { reply } from "./reply.ts";

/** A method and a path, such as `"GET /lamp/{name}"`. */
export type RouteKey = `${Method} /${string}`;

/** The component of the path for each name in braces. */
export type RouteParameters<Key extends string> = Key extends
  `${string}{${infer Name}}${infer Rest}` ? { readonly [N in Name]: string } & RouteParameters<Rest>
  : Readonly<Record<never, string>>;

/**
 * Answers the requests of a route, like an app; its first argument has what the names stand for.
 */
export type RouteHandler<Key extends string> = (
  parameters: RouteParameters<Key>,
  request: Request,
  session: Session,
  api: Api,
) => ReturnType<AppFunction>;

/** A path with its functions. */
interface Route {
  /** The components; `null` where a name stands for any. */
  readonly components: readonly (string | null)[];
  /** Sorts the paths: where one has a component and another one a name, the component is first. */
  readonly order: string;
  readonly handlers: Map<Method, { names: readonly string[]; handle: RouteHandler<string> }>;
}

/** The names in braces, each a whole component. */
const NAMES = /(?<=\/)\{([A-Za-z_][A-Za-z0-9_]*)\}(?=\/|$)/g;

/**
 * Makes an app from a table of methods and paths.
 *
 * A name in braces stands for one component of the path, which is not empty; a component without
 * braces is itself, and goes before a name. The route of GET answers HEAD, too, unless HEAD has one
 * of its own. A path that no route has is answered with `404 Not Found`; another method than those
 * of its routes with `405 Method Not Allowed`, and `allow` (RFC 9110 §15.5.6).
 *
 * Paths begin where the request's `path` begins: below a {@linkcode Router}, with the rest.
 *
 * @param table A function for each method and path, which answers as an app does.
 * @throws {TypeError} if the table is no object, or a value is no function.
 * @throws {RangeError} if a key is not a method, a space and a path, a path can't occur in a
 * request, a name is not of letters, digits and `_` or comes twice, two keys are the same route, or
 * there is no route.
 *
 * @example
 * ```ts
 * import { Client, json, reply, routes, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const lamps = new Map([["kitchen", "off"]]);
 * const app = routes({
 *   "GET /lamps": () => json([...lamps.keys()]),
 *   "GET /lamp/{name}": ({ name }) => reply(200, lamps.get(name) ?? "none"),
 *   "PUT /lamp/{name}": async ({ name }, request) => {
 *     lamps.set(name, await request.body?.text({ maxBytes: 3 }) ?? "");
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
export function routes<Key extends RouteKey>(
  table: { readonly [K in Key]: RouteHandler<K> },
): AppFunction {
  checkObject("table", table);
  const byShape = new Map<string, Route>();
  for (const [key, handle] of Object.entries(table)) {
    addRoute(byShape, key, handle as RouteHandler<string>);
  }
  if (byShape.size === 0) throw new RangeError("table: must have a route; got none");
  const all = [...byShape.values()].sort((a, b) => a.order < b.order ? -1 : 1);
  return (request, session, api) => {
    const { method, path } = request;
    const found = all.filter(({ components }) => isAt(components, path));
    for (const { components, handlers } of found) {
      const handler = handlers.get(method) ?? (method === "HEAD" ? handlers.get("GET") : undefined);
      if (handler === undefined) continue;
      const values = path.filter((_component, i) => components[i] === null);
      const parameters = Object.fromEntries(handler.names.map((name, i) => [name, values[i]!]));
      return handler.handle(parameters, request, session, api);
    }
    return found.length === 0 ? reply(404) : reply(405, null, { allow: methodsOf(found) });
  };
}

function addRoute(byShape: Map<string, Route>, key: string, handle: RouteHandler<string>): void {
  const label = `table[${quote(key)}]`;
  checkFunction(label, handle);
  const [method, path = "", ...rest] = key.split(" ") as [Method, ...string[]];
  checkMethod(method, label);
  const names = Array.from(path.matchAll(NAMES), ([, name]) => name!);
  const example = path.replaceAll(NAMES, "name");
  checkUri(example, label);
  if (rest.length > 0 || path.includes("?")) {
    throw new RangeError(`${label}: must be a method, a space and a path; got more`);
  }
  if (new Set(names).size < names.length) {
    throw new RangeError(`${label}: each name must come once; got one twice`);
  }
  const written = path.split("/").slice(1);
  const components = parseUri(example).path
    .map((component, i) => written[i] === component ? component : null);
  const shape = JSON.stringify(components);
  let route = byShape.get(shape);
  if (route === undefined) {
    const order = components.map((component) => component === null ? "1" : "0").join("");
    byShape.set(shape, route = { components, order, handlers: new Map() });
  }
  if (route.handlers.has(method)) {
    throw new RangeError(`${label}: must be the only one for its requests; got another one before`);
  }
  route.handlers.set(method, { names, handle });
}

/** Whether a path is that of a route. */
function isAt(components: Route["components"], path: readonly string[]): boolean {
  return components.length === path.length &&
    components.every((component, i) => component === null ? path[i] !== "" : component === path[i]);
}

/** The methods that some routes answer, for `allow`. */
function methodsOf(found: readonly Route[]): string {
  const methods = new Set(found.flatMap(({ handlers }) => [...handlers.keys()]));
  if (methods.has("GET")) methods.add("HEAD");
  return [...methods].join(", ");
}
