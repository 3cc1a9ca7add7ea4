/**
 * What an application can rely on: the rules for its three arguments.
 *
 * @module
 */

import type { Api, Socket } from "../base/app/app.ts";
import type { BodyIn } from "../base/body/bodies.ts";
import { BodyError, quote, typeName } from "../base/errors.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import type { Request } from "../base/app/message.ts";
import { checkMethod, formatRequestPreamble } from "../base/wire/preamble.ts";
import type { Session } from "../base/app/session.ts";
import { checkUri, parseUri } from "../base/wire/uri.ts";
import { itemOf, labelled, labelledWhole } from "./labels.ts";

/** Nobody reads it: formatting is the check. */
const scratch = new Uint8Array(MAX_PREAMBLE_BYTES);

/** Checks a request as it is handed to an application. */
export function checkRequest(request: Request): void {
  checkObject("request", request);
  labelled("request.method", () => checkMethod(request.method));
  labelled("request.uri", () => checkUri(request.uri));
  checkTarget(request);
  checkHeaders(request);
  checkBody(request.body, request.headers);
  for (const name of ["shiftPath", "buildProxyUri"] as const) {
    checkFunction(`request.${name}`, request[name]);
  }
}

/** `mount` and `path` together are the path of the URI, and `query` is its query. */
function checkTarget({ uri, mount, path, query }: Request): void {
  const parts = parseUri(uri);
  checkComponents("request.mount", mount);
  checkComponents("request.path", path);
  const components = [...mount, ...path];
  const same = components.length === parts.path.length &&
    components.every((component, i) => component === parts.path[i]);
  if (!same) {
    throw new RangeError(
      `request.path: mount and path are not the path of ${quote(uri)} in two parts`,
    );
  }
  if (query !== null && typeof query !== "string") {
    throw new TypeError(`request.query: need a string or null; got ${typeName(query)}`);
  }
  if (query !== parts.query) {
    throw new RangeError(`request.query: it is not the query of ${quote(uri)}`);
  }
}

function checkComponents(label: string, components: readonly string[]): void {
  if (!Array.isArray(components)) {
    throw new TypeError(`${label}: need an array; got ${typeName(components)}`);
  }
  for (const [i, component] of components.entries()) {
    if (typeof component !== "string") {
      throw new TypeError(`${label}[${i}]: need a string; got ${typeName(component)}`);
    }
  }
}

function checkHeaders({ method, uri, headers }: Request): void {
  const check = (some: HeaderDict) =>
    formatRequestPreamble(scratch, method, uri, some, null, undefined);
  checkObject("request.headers", headers);
  for (const [name, value] of Object.entries(headers)) {
    labelledWhole(itemOf("request.headers", name), () => check({ [name]: value }));
  }
  labelled("request.headers", () => check(headers));
}

function checkBody(body: BodyIn, headers: HeaderDict): void {
  const length = headers["content-length"];
  if (length === undefined && headers["transfer-encoding"] === undefined) {
    if (body === null) return;
    throw new RangeError(
      `request.body: need null, since no header announces a body; got ${typeName(body)}`,
    );
  }
  checkObject("request.body", body);
  for (const name of ["read", "bytes", "text", "json", "writeTo"] as const) {
    checkFunction(`request.body.${name}`, body![name]);
  }
  if (body!.chunked !== (length === undefined)) {
    throw new RangeError(
      `request.body.chunked: need ${length === undefined}, as the headers say; ` +
        `got ${body!.chunked}`,
    );
  }
  if (!body!.chunked && body!.contentLength !== length) {
    throw new RangeError(
      `request.body.contentLength: need ${length}, as the headers say; got ${body!.contentLength}`,
    );
  }
  if (body!.used === true) {
    throw new BodyError("request.body: it was used before the application got it");
  }
}

/** Checks a session as it is handed to an application. */
export function checkSession(session: Session): void {
  checkObject("session", session);
  const { address, maxRequests, requests, store, peerCertificate, message } = session;
  if (address !== null) checkPeerAddress(address);
  checkCount("session.maxRequests", maxRequests, 1, Infinity);
  checkCount("session.requests", requests, 0, maxRequests - 1);
  if (!(store instanceof Map)) {
    throw new TypeError(`session.store: need a Map; got ${typeName(store)}`);
  }
  if (typeof peerCertificate !== "object") {
    throw new TypeError(
      `session.peerCertificate: need an object or null; got ${typeName(peerCertificate)}`,
    );
  }
  if (message !== null) {
    throw new RangeError("session.message: need null while the session has not ended");
  }
}

function checkPeerAddress(address: readonly unknown[]): void {
  const [host, port, flowinfo = 0, scopeid = 0] = Array.isArray(address) ? address : [];
  const numbers = [port, flowinfo, scopeid];
  if (
    typeof host !== "string" || !numbers.every((number) => Number.isInteger(number)) ||
    (address.length !== 2 && address.length !== 4)
  ) {
    throw new TypeError(
      "session.address: need null, [host, port] or [host, port, flowinfo, scopeid]; " +
        `got ${typeName(address)}`,
    );
  }
}

function checkCount(label: string, value: number, least: number, most: number): void {
  if (typeof value !== "number") {
    throw new TypeError(`${label}: need a number; got ${typeName(value)}`);
  }
  const isCount = Number.isSafeInteger(value) || value === Infinity;
  if (!isCount || value < least || value > most) {
    throw new RangeError(`${label}: need an integer from ${least} to ${most}; got ${value}`);
  }
}

/** Checks the classes that are handed to an application. */
export function checkApi(api: Api): void {
  checkObject("api", api);
  const names = ["Body", "BodyIter", "ChunkedBody", "ChunkedBodyIter", "Range", "ContentRange"];
  for (const name of names as (keyof Api)[]) checkFunction(`api.${name}`, api[name]);
}

/** Checks a socket as it is handed to an application's `onConnect`. */
export function checkSocket(sock: Socket): void {
  checkObject("sock", sock);
  for (const name of ["read", "write", "close"] as const) checkFunction(`sock.${name}`, sock[name]);
}

function checkObject(label: string, value: unknown): void {
  if (typeof value !== "object" || value === null) {
    throw new TypeError(`${label}: need an object; got ${typeName(value)}`);
  }
}

function checkFunction(label: string, value: unknown): void {
  if (typeof value !== "function") {
    throw new TypeError(`${label}: need a function; got ${typeName(value)}`);
  }
}
