/**
 * Request targets (RFC 9112 §3.2.1, origin-form). A received path may have several spellings; a
 * path that this package makes has one. A received component `.` is removed (RFC 3986 §6.2.2.3).
 * What two programs could read in two ways is refused: `//`, `..`, and escapes that hide a
 * separator, a dot or a name.
 */

import { checkArray, notAllowedError, wrongTypeError } from "../../internal/checks.ts";
import { ProtocolError } from "../errors.ts";
import { quote } from "../../internal/quote.ts";
import { isWindows } from "../../internal/system.ts";
import { allows, PATH_TABLE, UNESCAPED_TABLE, URI_TABLE } from "./character_tables.ts";

const PERCENT = 0x25, DOT = 0x2e, SLASH = 0x2f;

/** Parts of a decoded component that another program could read as a separator, an end or `..`. */
const FORBIDDEN_PART = /^\.\.?;|[/\0]/;
const INCOMPLETE_ESCAPE = /%(?![\dA-F]{2}).{0,2}/i;
/** An escape of a letter, a digit, or one of `- . _`. */
const FORBIDDEN_ESCAPE = /%(?:2[DE]|3\d|[46][1-9A-F]|[57][\dA]|5F)/i;

const URI_RULE = "a URI has visible ASCII except #";
const PATH_RULE = 'a path has visible ASCII except " # < > ? \\ and the backtick';
const ESCAPE_RULE = "two hexadecimal digits follow a percent sign";
const LITERAL_RULE = "letters, digits and - . _ are not escaped";
const UTF8_RULE = "escapes are UTF-8";
const COMPONENT_RULE = 'a component has no slash or NUL, and doesn\'t begin with ".;" or "..;"';
const WINDOWS_RULE = "a component has no backslash on Windows";
const ONE_SPELLING_RULE = "each path has one spelling";
const ESCAPE_HINT = "buildUri(path, parameters) escapes paths and parameters";

const encoder = new TextEncoder();

export interface ParsedUri {
  /** The URI in origin form, without components `.`. */
  readonly uri: string;
  readonly path: string[];
  readonly query: string | null;
}

/**
 * Splits a URI into the decoded components of its path and its query: `/foo%20bar/?a=%20` is
 * `["foo bar", ""]` and `a=%20`, `/` is `[]` and `null`.
 *
 * @param isReceived Whether apps of this system get the path. Only a received path can have
 * components `.`. On Windows a received path has no backslash, but a client may request a file of
 * another system.
 */
export function parseUri(uri: string, isReceived = true): ParsedUri {
  // The most common target needs no parsing.
  if (uri === "/") return { uri, path: [], query: null };
  if (uri.charCodeAt(0) !== SLASH) throw invalidUriError(uri, 'it must begin with "/"');
  const questionMarkIndex = uri.indexOf("?");
  const end = questionMarkIndex === -1 ? uri.length : questionMarkIndex;
  const path: string[] = [];
  let start = 1;
  let isEscaped = false;
  let hasDot = false;
  for (let i = 1; i <= end; i++) {
    const code = i < end ? uri.charCodeAt(i) : SLASH;
    if (code === SLASH) {
      if (i === start && i < end) {
        throw invalidPathError(uri, describeForbiddenPart("//", ONE_SPELLING_RULE));
      }
      const text = uri.substring(start, i);
      const needsDecoding = isEscaped || text.charCodeAt(0) === DOT;
      if (isReceived && text === ".") hasDot = true;
      else path.push(needsDecoding ? decodeComponent(uri, text, isReceived) : text);
      start = i + 1;
      isEscaped = false;
    } else if (PATH_TABLE[code] !== 1) {
      if (code !== PERCENT) {
        const remainder = uri.substring(i, end);
        throw URI_TABLE[code] === 1
          ? invalidPathError(uri, describeForbiddenCharacter(PATH_TABLE, remainder, PATH_RULE))
          : invalidUriError(uri, describeForbiddenCharacter(URI_TABLE, remainder, URI_RULE));
      }
      isEscaped = true;
    }
  }
  if (end === 1) path.pop();
  const query = questionMarkIndex === -1 ? null : uri.substring(questionMarkIndex + 1);
  if (query !== null && !allows(URI_TABLE, query)) {
    throw invalidUriError(uri, describeForbiddenCharacter(URI_TABLE, query, URI_RULE));
  }
  // Parse again: the path can end with a slash now, or be only a slash.
  if (hasDot) return parseUri(removeDots(uri.substring(0, end)) + uri.substring(end));
  return { uri, path, query };
}

function removeDots(path: string): string {
  return path.replace(/\/\.(?=\/)/g, "").replace(/\/\.$/, "/");
}

function decodeComponent(uri: string, text: string, isReceived: boolean): string {
  const [incompletePart] = INCOMPLETE_ESCAPE.exec(text) ?? [];
  if (incompletePart !== undefined) {
    throw invalidPathError(uri, describeForbiddenPart(incompletePart, ESCAPE_RULE));
  }
  const [forbiddenEscape] = FORBIDDEN_ESCAPE.exec(text) ?? [];
  if (forbiddenEscape !== undefined) {
    throw invalidPathError(uri, describeForbiddenPart(forbiddenEscape, LITERAL_RULE));
  }
  let component;
  try {
    component = decodeURIComponent(text);
  } catch {
    throw invalidPathError(uri, describeForbiddenPart(text, UTF8_RULE));
  }
  const problem = describeInvalidComponent(component);
  if (problem !== null) throw invalidPathError(uri, problem);
  if (isReceived && isWindows() && component.includes("\\")) {
    throw invalidPathError(uri, describeForbiddenPart("\\", WINDOWS_RULE));
  }
  return component;
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

function describeInvalidComponent(component: string): string | null {
  if (component === "." || component === "..") {
    return describeForbiddenPart(component, ONE_SPELLING_RULE);
  }
  if (allows(UNESCAPED_TABLE, component)) return null;
  const [part] = FORBIDDEN_PART.exec(component) ?? [];
  if (part !== undefined) return describeForbiddenPart(part, COMPONENT_RULE);
  return component.isWellFormed() ? null : "a lone surrogate has no UTF-8";
}

/** Parses a URI of the caller. */
export function checkUri(uri: string, label = "uri", isReceived = false): ParsedUri {
  if (typeof uri !== "string") throw wrongTypeError(label, "a string", uri);
  try {
    return parseUri(uri, isReceived);
  } catch (error) {
    throw notAllowedError(label, `${(error as Error).message}; ${ESCAPE_HINT}`);
  }
}

/**
 * Builds a URI from path components and a query. In a component, ASCII letters, digits and
 * `- + . : _ ~` are kept, and each other character becomes the percent-encoded bytes of its UTF-8.
 *
 * @param path The components of the path, not escaped; `[]` and `[""]` both give `/`.
 * @param query The text after the `?`, already escaped; or parameters, which are escaped so that
 * `new URLSearchParams(query)` parses them. `null` and empty parameters add no query.
 * @throws {TypeError} if a component, the query or a parameter has a wrong type.
 * @throws {RangeError} if a component has a slash, a NUL or a lone surrogate, is `.` or `..`,
 * begins with `.;` or `..;`, or is empty before the last; if a text as query has a character that
 * is not visible ASCII, or `#`; if a parameter has a lone surrogate.
 *
 * @example
 * ```ts
 * import { buildUri } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(buildUri([], null), "/");
 * assertEquals(buildUri(["foo", "bar", ""], "key=value"), "/foo/bar/?key=value");
 * assertEquals(buildUri(["a b", "ü"]), "/a%20b/%C3%BC");
 * assertEquals(buildUri(["files"], { glob: "*.jpg", by: "size" }), "/files?glob=%2A.jpg&by=size");
 * ```
 */
export function buildUri(
  path: readonly string[],
  query: string | URLSearchParams | Readonly<Record<string, string>> | null = null,
): string {
  const uri = "/" + checkPath(path, "path").map(escapeComponent).join("/");
  if (query === null) return uri;
  if (typeof query !== "string") {
    const text = formatParameters(query);
    return text === "" ? uri : `${uri}?${text}`;
  }
  if (!allows(URI_TABLE, query)) {
    const problem = describeForbiddenCharacter(URI_TABLE, query, URI_RULE);
    throw notAllowedError("query", `${quote(query)}: ${problem}; ${ESCAPE_HINT}`);
  }
  return `${uri}?${query}`;
}

/** Escapes parameters as `application/x-www-form-urlencoded` (URL standard), and also `*`. */
function formatParameters(query: URLSearchParams | Readonly<Record<string, string>>): string {
  if (query instanceof URLSearchParams) return query.toString().replaceAll("*", "%2A");
  const prototype = Object.getPrototypeOf(query);
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
  const problem = describeInvalidComponent(component);
  if (problem !== null) throw notAllowedError(label, `${quote(component)}: ${problem}`);
  if (component === "" && !isLast) {
    throw notAllowedError(label, `"" is allowed only as the last component`);
  }
}

function escapeComponent(component: string): string {
  if (allows(UNESCAPED_TABLE, component)) return component;
  let text = "";
  for (const byte of encoder.encode(component)) {
    text += UNESCAPED_TABLE[byte] === 1 ? String.fromCharCode(byte) : escapeByte(byte);
  }
  return text;
}

function escapeByte(byte: number): string {
  return `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}
