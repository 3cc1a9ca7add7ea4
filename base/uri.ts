/**
 * Request targets: one spelling for each path, nothing to decode (RFC 9112 §3.2.1, origin-form).
 *
 * @module
 */

import { ProtocolError, quote, typeName } from "./errors.ts";
import { allows, PATH, QUERY, URI } from "./tables.ts";

/** A request target in parts. */
export interface UriParts {
  /** The components of the path: `/foo/` is `["foo", ""]`, `/` is `[]`. */
  path: string[];
  /** What follows the `?`, neither parsed nor decoded; `null` where there is none. */
  query: string | null;
}

const SLASH = 0x2f;

/** Splits and checks a URI; a mistake is a {@linkcode ProtocolError}. */
export function parseUri(uri: string): UriParts {
  if (uri.charCodeAt(0) !== SLASH) throw badUri(uri);
  const mark = uri.indexOf("?");
  const end = mark < 0 ? uri.length : mark;
  const path: string[] = [];
  let start = 1;
  for (let i = 1; i <= end; i++) {
    const code = i < end ? uri.charCodeAt(i) : SLASH;
    if (code === SLASH) {
      if (i === start && i < end) throw badPath(uri);
      const component = uri.substring(start, i);
      if (component === "..") throw badPath(uri);
      path.push(component);
      start = i + 1;
    } else if (PATH[code] !== 1) {
      throw URI[code] === 1 ? badPath(uri) : badUri(uri);
    }
  }
  if (end === 1) path.pop();
  if (mark < 0) return { path, query: null };
  const query = uri.substring(mark + 1);
  if (!allows(QUERY, query)) {
    throw allows(URI, query)
      ? new ProtocolError("BAD_QUERY", `bad query in the URI ${quote(uri)}`)
      : badUri(uri);
  }
  return { path, query };
}

function badUri(uri: string): ProtocolError {
  return new ProtocolError("BAD_URI", `bad URI: ${quote(uri)}`);
}

function badPath(uri: string): ProtocolError {
  return new ProtocolError("BAD_PATH", `bad path in the URI ${quote(uri)}`);
}

/**
 * Checks a URI that a caller wants to send.
 *
 * @throws {TypeError} where it is not a string.
 * @throws {RangeError} where a reader would reject it.
 */
export function checkUri(uri: string): void {
  if (typeof uri !== "string") throw new TypeError(`uri: need a string; got ${typeName(uri)}`);
  // The target of most requests of most devices, and it needs no look at all.
  if (uri === "/") return;
  try {
    parseUri(uri);
  } catch (error) {
    throw new RangeError(`uri: ${(error as Error).message}`);
  }
}

/**
 * Puts a URI together from path components and a query.
 *
 * @param path Its components; `[]` and `[""]` both give `/`.
 * @param query What stands after the `?`, or `null` for none.
 * @throws {TypeError} where a component or the query has the wrong type.
 * @throws {RangeError} where one has a character that is not allowed, a component is `..`, or one
 * is empty that is not the last.
 *
 * @example
 * ```ts
 * import { buildUri } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(buildUri([], null), "/");
 * assertEquals(buildUri(["foo", "bar", ""], "key=value"), "/foo/bar/?key=value");
 * ```
 */
export function buildUri(path: readonly string[], query: string | null): string {
  if (!Array.isArray(path)) throw new TypeError(`path: need an array; got ${typeName(path)}`);
  // Copied first: what was checked is what is used, even where reading has side effects.
  const components: unknown[] = [...path];
  components.forEach((component, i) => {
    checkComponent(component, i, i === components.length - 1);
  });
  const uri = "/" + components.join("/");
  if (query === null) return uri;
  if (typeof query !== "string") {
    throw new TypeError(`query: need a string or null; got ${typeName(query)}`);
  }
  if (!allows(QUERY, query)) throw new RangeError(`query: bad character in ${quote(query)}`);
  return `${uri}?${query}`;
}

function checkComponent(component: unknown, index: number, last: boolean): void {
  if (typeof component !== "string") {
    throw new TypeError(`path[${index}]: need a string; got ${typeName(component)}`);
  }
  if (!allows(PATH, component)) {
    throw new RangeError(`path[${index}]: bad character in ${quote(component)}`);
  }
  if (component === ".." || (component === "" && !last)) {
    throw new RangeError(`path[${index}]: ${quote(component)} is not allowed here`);
  }
}
