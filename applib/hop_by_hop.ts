/**
 * Headers that are for one connection, and not for who is beyond it.
 *
 * @module
 */

import { connectionOptions, type HeaderDict, specialOf } from "../base/wire/headers.ts";

/**
 * What RFC 9110 §7.6.1 has an intermediary leave out, besides those that begin with `proxy-`; and
 * `expect`, since no interim response goes through here that could meet it (§10.1.1).
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
 * The headers without those of the connection that they came over, and without what `connection`
 * names. `host` and the headers that define a body's end or range are kept even if it names them: the
 * message would be a different one without them.
 *
 * @returns The same object if there is nothing to leave out.
 */
export function endToEndHeaders(headers: HeaderDict): HeaderDict {
  const names = Object.keys(headers);
  if (!names.some(isHopByHop)) return headers;
  const options = connectionOptions(headers);
  // Without a prototype, as headers are received.
  const kept: HeaderDict = Object.setPrototypeOf({}, null);
  for (const name of names) {
    const isNamed = options.includes(name) && name !== "host" && specialOf(name) === 0;
    if (!isHopByHop(name) && !isNamed) kept[name] = headers[name]!;
  }
  return kept;
}
