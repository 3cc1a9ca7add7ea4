/** Requests as another server's handler gets them, with text that may not be ASCII and invalid parts. */

import type { App } from "@degu/internal/base/app/app.ts";
import { toFetchHandler } from "@degu/degu";
import { fromLatin1, latin1 } from "../support/wire_grammar.ts";
import { demand, type Fuzzer, type Outcome } from "./fuzzer.ts";
import { requestPreamble } from "./grammar.ts";
import { describe, readRequest, type ReferenceRequest } from "./oracle.ts";
import { namedValue } from "./parsers.ts";
import type { Random } from "./random.ts";
import { flatten } from "./received.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** A preamble in UTF-8, in which some characters are others with the same low byte. */
function preambleInUtf8(random: Random): string {
  const units = requestPreamble(random).split("");
  const count = random.chance(50) ? 0 : 1 + random.below(3);
  for (let n = count; n > 0; n--) {
    const at = random.below(units.length);
    const low = random.chance(50)
      ? units[at]!.charCodeAt(0)
      : random.pick([0x0d, 0x0a, 0x20, 0x2f]);
    units[at] = String.fromCharCode(random.pick([0x100, 0x200, 0x2100, 0xff00]) + low);
  }
  return fromLatin1(encoder.encode(units.join("")));
}

/** What a server hands over; nothing of it has been checked. */
type Parts = ReturnType<typeof takeApart>;

/** Takes a preamble apart where it has its separators; every fifth keeps a line end in a value. */
function takeApart(text: string) {
  const [first = "", ...lines] = text.split("\r\n");
  if (text.length % 5 === 0 && lines.length > 1) lines.push(lines.splice(-2).join("\r\n"));
  const space = first.indexOf(" ");
  // A server makes a URL of a host and a path, and nothing else has come this far.
  const target = first.slice(space + 1).replace(/ HTTP\/1\.1$/, "").replace(/^(?!\/)/, "/");
  return { method: first.slice(0, space), target, headers: lines.map(namedValue) };
}

function hostOf({ headers }: Parts): string | null {
  return headers.find(([name]) => name.toLowerCase() === "host")?.[1] ?? null;
}

/** A request of these parts. The platform's own would refuse some of them. */
function requestOf(parts: Parts): Request {
  const headers = {
    get: () => hostOf(parts),
    has: () => hostOf(parts) !== null,
    [Symbol.iterator]: () => parts.headers.values(),
  };
  const url = `http://${hostOf(parts) ?? "a"}${parts.target}`;
  return { method: parts.method, url, headers, body: null } as unknown as Request;
}

/** What an application has to see of these parts, each for itself; `null` where it has to see nothing. */
function expectedOf(parts: Parts): ReferenceRequest | null {
  const { method, target } = parts;
  const host = hostOf(parts);
  // Where there is no host, that of the URL is added.
  const headers = host === null ? [["host", "a"] as const, ...parts.headers] : parts.headers;
  const lines = headers.map(([name, value]) => `${name}: ${value}`);
  const whole = readRequest([`${method} ${target} HTTP/1.1`, ...lines].join("\r\n"));
  const same = whole !== null && whole.method === method && whole.uri === target &&
    Object.keys(whole.headers).length === headers.length;
  if (!same) return null;
  return host === null || /^[^ /?]+$/.test(host) ? whole : null;
}

/** What the handler of an application lets in, and what of it the application sees. */
export function fetchRequests(): Fuzzer {
  let seen: string[] = [];
  const app: App = ({ method, uri, headers }) => {
    seen.push(describe({ method, uri, headers: flatten(headers) }));
    return [200, "OK", {}, null];
  };
  const handler = toFetchHandler(app);
  const info = { remoteAddr: { transport: "tcp", hostname: "127.0.0.1", port: 1 } } as const;
  return {
    name: "fetch-request",
    grammar: preambleInUtf8,
    async check(input): Promise<Outcome> {
      const parts = takeApart(decoder.decode(latin1(input)));
      const expected = expectedOf(parts);
      seen = [];
      await handler(requestOf(parts), info);
      const wanted = expected === null ? [] : [describe(expected)];
      demand(seen.join() === wanted.join(), `the application got ${seen} in place of ${wanted}`);
      return expected === null ? "rejected" : "accepted";
    },
  };
}
