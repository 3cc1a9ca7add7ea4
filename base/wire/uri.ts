/**
 * Request targets (RFC 9112 §3.2.1, origin-form). Each path has one spelling, so paths are not
 * decoded.
 */

import { checkArray, notAllowedError, wrongTypeError } from "../../internal/checks.ts";
import { ProtocolError } from "../errors.ts";
import { quote } from "../../internal/quote.ts";
import { allows, PATH_TABLE, QUERY_TABLE, URI_TABLE } from "./character_tables.ts";

const SLASH = 0x2f;

const URI_RULE = "a URI has letters, digits and - + . : _ ~ % & = / ?";
const PATH_RULE = "a path is not decoded, and has letters, digits and - + . : _ ~ between slashes";
const QUERY_RULE = "a query has letters, digits and - + . : _ ~ % & =";
const ESCAPE_HINT = "buildUri(path, parameters) escapes parameters";
const ONE_SPELLING_RULE = "each path has one spelling";

/**
 * Splits a URI into the components of its path and its query: `/foo/?a=%20` is `["foo", ""]` and
 * `a=%20`, `/` is `[]` and `null`.
 */
export function parseUri(uri: string): { path: string[]; query: string | null } {
  // The most common target needs no parsing.
  if (uri === "/") return { path: [], query: null };
  if (uri.charCodeAt(0) !== SLASH) throw invalidUriError(uri, 'it must begin with "/"');
  const questionMarkIndex = uri.indexOf("?");
  const end = questionMarkIndex === -1 ? uri.length : questionMarkIndex;
  const path: string[] = [];
  let start = 1;
  for (let i = 1; i <= end; i++) {
    const code = i < end ? uri.charCodeAt(i) : SLASH;
    if (code === SLASH) {
      if (i === start && i < end) {
        throw invalidPathError(uri, describeForbiddenPart("//", ONE_SPELLING_RULE));
      }
      const component = uri.substring(start, i);
      if (component === "..") {
        throw invalidPathError(uri, describeForbiddenPart("..", ONE_SPELLING_RULE));
      }
      path.push(component);
      start = i + 1;
    } else if (PATH_TABLE[code] !== 1) {
      const remainder = uri.substring(i, end);
      throw URI_TABLE[code] === 1
        ? invalidPathError(uri, describeForbiddenCharacter(PATH_TABLE, remainder, PATH_RULE))
        : invalidUriError(uri, describeForbiddenCharacter(URI_TABLE, remainder, URI_RULE));
    }
  }
  if (end === 1) path.pop();
  if (questionMarkIndex === -1) return { path, query: null };
  const query = uri.substring(questionMarkIndex + 1);
  if (!allows(QUERY_TABLE, query)) {
    throw allows(URI_TABLE, query)
      ? new ProtocolError(
        "BAD_QUERY",
        `bad query in the URI ${quote(uri)}: ${
          describeForbiddenCharacter(QUERY_TABLE, query, QUERY_RULE)
        }`,
      )
      : invalidUriError(uri, describeForbiddenCharacter(URI_TABLE, query, URI_RULE));
  }
  return { path, query };
}

function invalidUriError(uri: string, problem: string): ProtocolError {
  return new ProtocolError("BAD_URI", `bad URI ${quote(uri)}: ${problem}`);
}

function invalidPathError(uri: string, problem: string): ProtocolError {
  return new ProtocolError("BAD_PATH", `bad path in the URI ${quote(uri)}: ${problem}`);
}

function describeForbiddenPart(part: string, rule: string): string {
  return `${quote(part)} is not allowed; ${rule}`;
}

function describeForbiddenCharacter(table: Uint8Array, text: string, rule: string): string {
  const forbiddenCharacter = [...text].find((character) => !allows(table, character))!;
  return describeForbiddenPart(forbiddenCharacter, rule);
}

export function checkUri(uri: string, label = "uri"): void {
  if (typeof uri !== "string") throw wrongTypeError(label, "a string", uri);
  try {
    parseUri(uri);
  } catch (error) {
    const questionMarkIndex = uri.indexOf("?");
    const isQueryInvalid = questionMarkIndex !== -1 &&
      !allows(QUERY_TABLE, uri.substring(questionMarkIndex + 1));
    throw notAllowedError(
      label,
      `${(error as Error).message}${isQueryInvalid ? `; ${ESCAPE_HINT}` : ""}`,
    );
  }
}

/**
 * Builds a URI from path components and a query.
 *
 * @param path The components of the path; `[]` and `[""]` both give `/`.
 * @param query The text after the `?`, already escaped; or parameters, which are escaped so that
 * `new URLSearchParams(query)` parses them. `null` and empty parameters add no query.
 * @throws {TypeError} if a component, the query or a parameter has a wrong type.
 * @throws {RangeError} if a component or a text as query has a character that is not allowed, a
 * component is `..`, a component before the last is empty, or a parameter has a lone surrogate.
 *
 * @example
 * ```ts
 * import { buildUri } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(buildUri([], null), "/");
 * assertEquals(buildUri(["foo", "bar", ""], "key=value"), "/foo/bar/?key=value");
 * assertEquals(buildUri(["files"], { glob: "*.jpg", by: "size" }), "/files?glob=%2A.jpg&by=size");
 * ```
 */
export function buildUri(
  path: readonly string[],
  query: string | URLSearchParams | Readonly<Record<string, string>> | null = null,
): string {
  const uri = "/" + checkPath(path, "path").join("/");
  if (query === null) return uri;
  if (typeof query !== "string") {
    const text = formatParameters(query);
    return text === "" ? uri : `${uri}?${text}`;
  }
  if (!allows(QUERY_TABLE, query)) {
    const problem = describeForbiddenCharacter(QUERY_TABLE, query, QUERY_RULE);
    throw notAllowedError("query", `${quote(query)}: ${problem}; ${ESCAPE_HINT}`);
  }
  return `${uri}?${query}`;
}

/** Escapes parameters as `application/x-www-form-urlencoded` (URL standard), and also `*`. */
function formatParameters(query: URLSearchParams | Readonly<Record<string, string>>): string {
  if (query instanceof URLSearchParams) return query.toString().replaceAll("*", "%2A");
  const prototype = typeof query === "object" ? Object.getPrototypeOf(query) : undefined;
  if (prototype !== Object.prototype && prototype !== null) {
    throw wrongTypeError("query", "a string, URLSearchParams, an object of strings or null", query);
  }
  const entries = Object.entries(query);
  for (const [name, value] of entries) {
    const label = `query[${quote(name)}]`;
    if (typeof value !== "string") throw wrongTypeError(label, "a string", value);
    if (!name.isWellFormed() || !value.isWellFormed()) {
      throw notAllowedError(label, `must have no lone surrogate`);
    }
  }
  return formatParameters(new URLSearchParams(entries));
}

export function checkPath(path: readonly string[], label: string): string[] {
  checkArray(label, path);
  const components = [...path];
  components.forEach((component, i) => {
    checkComponent(component, `${label}[${i}]`, i === components.length - 1);
  });
  return components;
}

function checkComponent(component: unknown, label: string, isLast: boolean): void {
  if (typeof component !== "string") throw wrongTypeError(label, "a string", component);
  if (!allows(PATH_TABLE, component)) {
    const problem = describeForbiddenCharacter(PATH_TABLE, component, PATH_RULE);
    throw notAllowedError(label, `${quote(component)}: ${problem}`);
  }
  if (component === "..") {
    throw notAllowedError(label, describeForbiddenPart("..", ONE_SPELLING_RULE));
  }
  if (component === "" && !isLast) {
    throw notAllowedError(label, `"" is allowed only as the last component`);
  }
}
