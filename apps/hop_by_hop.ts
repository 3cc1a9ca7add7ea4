/**
 * Hop-by-hop headers, which are meant for one connection only.
 *
 * @module
 */

import { connectionOptions, type HeaderDict, isSpecial } from "../base/wire/headers.ts";

/**
 * The headers that an intermediary must remove (RFC 9110 §7.6.1), besides those that begin with `proxy-`; and
 * `expect`, since no interim response is relayed that could meet it (§10.1.1).
 */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "te",
  "upgrade",
  "expect",
]);

function isHopByHop(name: string): boolean {
  return HOP_BY_HOP.has(name) || name.startsWith("proxy-");
}

/**
 * Returns the headers without hop-by-hop headers and without those that `connection` names. `host` and the
 * headers that define a body's end or range are kept even if it names them: the message would be a different
 * one without them.
 *
 * @returns The same object if there is nothing to remove.
 */
export function endToEndHeaders(headers: HeaderDict): HeaderDict {
  const names = Object.keys(headers);
  if (!names.some(isHopByHop)) return headers;
  const options = new Set(connectionOptions(headers));
  // Without a prototype, as headers are received.
  const kept: HeaderDict = Object.setPrototypeOf({}, null);
  for (const name of names) {
    const isNamed = options.has(name) && name !== "host" && !isSpecial(name);
    if (!isHopByHop(name) && !isNamed) kept[name] = headers[name]!;
  }
  return kept;
}
