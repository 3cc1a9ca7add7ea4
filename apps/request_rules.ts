/**
 * The rules for the three arguments of an app.
 *
 * @module
 */

import type { Api, Socket } from "../base/app/app.ts";
import type { Request } from "../base/app/message.ts";
import type { Session } from "../base/app/session.ts";
import type { BodyIn } from "../base/body/bodies.ts";
import {
  checkArray,
  checkFunction,
  checkInteger,
  checkObject,
  checkString,
  wrongType,
} from "../base/checks.ts";
import { BodyError, quote, typeName } from "../base/errors.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import { checkMethod, formatRequestPreamble } from "../base/wire/preamble.ts";
import { checkUri, parseUri } from "../base/wire/uri.ts";

/** Never read: formatting is the check. */
const scratch = new Uint8Array(MAX_PREAMBLE_BYTES);

/** Checks a request as an app gets it. */
export function checkRequest(request: Request): void {
  checkObject("request", request);
  const { method, uri, headers, body } = request;
  checkMethod(method, "request.method");
  checkUri(uri, "request.uri");
  checkTarget(request);
  formatRequestPreamble(scratch, method, uri, headers, null, undefined, "request.headers");
  checkBody(body, headers);
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
    throw new RangeError(`request.path: must be what mount leaves of the path of ${quote(uri)}`);
  }
  if (query !== null && typeof query !== "string") {
    throw wrongType("request.query", "a string or null", query);
  }
  if (query !== parts.query) {
    throw new RangeError(`request.query: must be the query of ${quote(uri)}`);
  }
}

function checkComponents(label: string, components: readonly string[]): void {
  checkArray(label, components);
  for (const [i, component] of components.entries()) checkString(`${label}[${i}]`, component);
}

function checkBody(body: BodyIn, headers: HeaderDict): void {
  const length = headers["content-length"];
  if (length === undefined && headers["transfer-encoding"] === undefined) {
    if (body === null) return;
    throw new RangeError(
      `request.body: must be null, since no header announces a body; got ${typeName(body)}`,
    );
  }
  const label = "request.body";
  checkObject(label, body);
  for (const name of ["read", "bytes", "text", "json", "writeTo"] as const) {
    checkFunction(`${label}.${name}`, body[name]);
  }
  if (body.chunked !== (length === undefined)) {
    throw new RangeError(
      `${label}.chunked: must be ${length === undefined}, as the headers say; got ${body.chunked}`,
    );
  }
  if (!body.chunked && body.contentLength !== length) {
    throw new RangeError(
      `${label}.contentLength: must be ${length}, as the headers say; got ${body.contentLength}`,
    );
  }
  if (body.used === true) throw new BodyError(`${label}: was used before the app got it`);
}

/** Checks a session as an app gets it. */
export function checkSession(session: Session): void {
  checkObject("session", session);
  const { address, maxRequests, requests, store, peerCertificate, message } = session;
  if (address !== null) checkPeerAddress(address);
  checkInteger("session.maxRequests", maxRequests, 1, Infinity);
  checkInteger("session.requests", requests, 0, maxRequests - 1);
  if (!(store instanceof Map)) throw wrongType("session.store", "a Map", store);
  if (typeof peerCertificate !== "object") {
    throw wrongType("session.peerCertificate", "an object or null", peerCertificate);
  }
  if (message !== null) {
    throw new RangeError("session.message: must be null while the session has not ended");
  }
}

function checkPeerAddress(address: readonly unknown[]): void {
  const [host, port, flowinfo = 0, scopeid = 0] = Array.isArray(address) ? address : [];
  const numbers = [port, flowinfo, scopeid];
  if (
    typeof host !== "string" || !numbers.every((number) => Number.isInteger(number)) ||
    (address.length !== 2 && address.length !== 4)
  ) {
    const wanted = "null, [host, port] or [host, port, flowinfo, scopeid]";
    throw wrongType("session.address", wanted, address);
  }
}

/** Checks the classes that an app gets. */
export function checkApi(api: Api): void {
  checkObject("api", api);
  const names = ["Body", "BodyIter", "ChunkedBody", "ChunkedBodyIter", "Range", "ContentRange"];
  for (const name of names as (keyof Api)[]) checkFunction(`api.${name}`, api[name]);
}

/** Checks a socket as the `onConnect` of an app gets it. */
export function checkSocket(sock: Socket): void {
  checkObject("sock", sock);
  for (const name of ["read", "write", "close"] as const) checkFunction(`sock.${name}`, sock[name]);
}
