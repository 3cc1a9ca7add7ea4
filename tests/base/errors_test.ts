/** Errors, checks of arguments, loggers, and the formatting of values. */
import {
  BodyError,
  ConnectionClosedError,
  ConnectionError,
  DeguError,
  EmptyPreambleError,
  ProtocolError,
  TlsError,
} from "@degu/degu/base";
import {
  formatHeaders,
  formatRequest,
  parseChunkHeader,
  parseContentRange,
  parseHeaders,
  parseRange,
  parseRequest,
  parseResponse,
  parseUri,
} from "./messages.ts";
import {
  checkBoolean,
  checkOptions,
  copyOptions,
  makeIntegerCheck,
} from "@degu/internal/internal/checks.ts";
import { withPath } from "@degu/internal/internal/caught_errors.ts";
import { SwapRemoveSet } from "@degu/internal/internal/collections.ts";
import { quote } from "@degu/internal/internal/quote.ts";
import {
  hideSecretsIn,
  INSPECT,
  inspectFields,
  printable,
  quoteLine,
  quoteValue,
} from "@degu/internal/internal/printable.ts";
import { catchThrown } from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { inspect as inspectOfNode } from "node:util";

Deno.test("an error has the problem without path and advice, and shows the problem only once", () => {
  const error = new DeguError("/a: it is full; free some", { problem: "it is full", cause: 1 });
  assertEquals([error.problem, error.cause], ["it is full", 1]);
  assertEquals(JSON.parse(JSON.stringify(error)), { name: "DeguError", code: null });
  assertEquals(Deno.inspect(error).split("it is full").length, 2);
});

Deno.test("console.log prints only the fields of an error of a connection that have a value", () => {
  const error = new ConnectionError("a", { fault: "broken", missingBytes: 7 });
  const text = Deno.inspect(error);
  assertMatch(text, /fault: "broken",\s+isConnecting: false,\s+missingBytes: 7,/);
  assertEquals([error.code, error.address, error.silentSeconds], [null, null, null]);
  for (const each of [error, new EmptyPreambleError("a"), new TlsError("CLOSED", "a")]) {
    assertEquals(Deno.inspect(each).includes("null"), false, Deno.inspect(each));
  }
});

Deno.test("each error has the name of its class, its message, and its own fields", () => {
  const cause = new Error("below");
  const rows: [error: DeguError, name: string, code: string | null, message: string][] = [
    [new DeguError("a"), "DeguError", null, "a"],
    [new ProtocolError("BAD_URI", "a"), "ProtocolError", "BAD_URI", "a"],
    [
      new ConnectionError("a", { fault: "reset", code: "ECONNRESET" }),
      "ConnectionError",
      "ECONNRESET",
      "a",
    ],
    [new EmptyPreambleError("a"), "EmptyPreambleError", "EMPTY_PREAMBLE", "a"],
    [new TlsError("UNTRUSTED", "a", { cause }), "TlsError", "UNTRUSTED", "a"],
    [new BodyError("a", { code: "TOO_LONG" }), "BodyError", "TOO_LONG", "a"],
    [new ConnectionClosedError(), "ConnectionClosedError", "CLOSED", "the connection is closed"],
  ];
  for (const [error, name, code, message] of rows) {
    assertInstanceOf(error, DeguError);
    assertEquals([error.name, error.code], [name, code]);
    assertEquals(error.message.slice(0, message.length), message);
    assertStringIncludes(Deno.inspect(error), `${name}: ${message}`);
    assertEquals(error.cause, name === "TlsError" ? cause : undefined);
    assertEquals(error.problem, error.message);
    const isOfConnection = !["DeguError", "ProtocolError", "BodyError"].includes(name);
    assertEquals(error instanceof ConnectionError, isOfConnection, name);
  }
  assert(!("cause" in new TlsError("CLOSED", "gone")));
});

Deno.test("the message about a long text of a peer or a caller is short, escaped and on one line", async (t) => {
  const hostileText = `\x00\x1b[31m\r\n\x7f\x9b\xff${"x".repeat(20000)}`;
  const line = hostileText.replaceAll("\r\n", "\r");
  const longText = "é\r\n\x1b".repeat(5000);
  const peerErrors: Record<string, () => unknown> = {
    "request line": () => parseRequest(encodeLatin1(line)),
    "method": () => parseRequest(encodeLatin1(`${line} / HTTP/1.1`)),
    "URI of a request": () => parseRequest(encodeLatin1(`GET /${line} HTTP/1.1`)),
    "query of a request": () => parseRequest(encodeLatin1(`GET /?${line} HTTP/1.1`)),
    "protocol": () => parseRequest(encodeLatin1(`GET / ${line}`)),
    "header line": () => parseHeaders(encodeLatin1(line)),
    "header name": () => parseHeaders(encodeLatin1(`${line}: a`)),
    "header value": () => parseHeaders(encodeLatin1(`a: ${line}`)),
    "content-length": () => parseHeaders(encodeLatin1(`content-length: ${line}`)),
    "transfer-encoding": () => parseHeaders(encodeLatin1(`transfer-encoding: ${line}`)),
    "range header": () => parseHeaders(encodeLatin1(`range: ${line}`)),
    "duplicate": () => parseHeaders(encodeLatin1("etag: b\r\netag: c")),
    "status line": () => parseResponse("GET", encodeLatin1(line)),
    "status": () => parseResponse("GET", encodeLatin1(`HTTP/1.1 ${line} OK`)),
    "reason": () => parseResponse("GET", encodeLatin1(`HTTP/1.1 200 ${line}`)),
    "chunk size": () => parseChunkHeader(encodeLatin1(line.slice(0, 4000))),
    "chunk extension": () => parseChunkHeader(encodeLatin1(`5;${line.slice(0, 4000)}`)),
    "URI": () => parseUri(`/${hostileText}`),
    "query": () => parseUri(`/?${hostileText}`),
    "range": () => parseRange(hostileText),
    "content-range": () => parseContentRange(hostileText),
  };
  const callerErrors: typeof peerErrors = {
    "name to be sent": () => formatHeaders({ [longText]: "a" }),
    "value to be sent": () => formatHeaders({ a: longText }),
    "URI to be sent": () => formatRequest("GET", `/${longText}`, {}),
  };
  await testEachRow(t, Object.entries({ ...peerErrors, ...callerErrors }), (label, call) => {
    const error = catchThrown(call, label);
    assert(error instanceof (label in peerErrors ? ProtocolError : RangeError));
    assert(/^[ -~…]+$/.test(error.message), JSON.stringify(error.message.slice(0, 200)));
    assert(error.message.length < 400, `${error.message.length} characters`);
    if ("code" in error) assertMatch(error.code as string, /^[A-Z]+(_[A-Z]+)*$/);
  });
});

Deno.test("the error of an open file gets its path, whichever words the message of the system has", () => {
  const cause = Object.assign(new Error("No space left on device (os error 28)"), {
    code: "ENOSPC",
  });
  for (const path of ["/data/a", "device", "e", "write"]) {
    const error = withPath(cause, "write", path) as Error & { path: string };
    assertEquals([error.path, error.message], [path, `${cause.message}: write '${path}'`]);
    assertEquals(withPath(error, "write", path), error);
    const denoError = Object.assign(new Error(error.message), { code: "ENOSPC" });
    assertEquals(withPath(denoError, "write", path), denoError);
  }
});

Deno.test("quote escapes all but printable ASCII, in as few digits as possible", () => {
  const rows: Record<string, string> = {
    "a~ ": '"a~ "',
    '"\\\r\n': '"\\"\\\\\\r\\n"',
    "\x01\x1f\x7f\xff": '"\\x01\\x1f\\x7f\\xff"',
    "\u0100\u20ac\uffff": '"\\u0100\\u20ac\\uffff"',
  };
  for (const [text, quoted] of Object.entries(rows)) assertEquals(quote(text), quoted);
  assertEquals(quote(encodeLatin1("a\xff")), '"a\\xff"');
  for (const length of [64, 65]) {
    const suffix = length === 64 ? "" : "… (65 in all)";
    assertEquals(quote("a".repeat(length)), `"${"a".repeat(64)}"${suffix}`);
  }
});

Deno.test("every code of an error is in its type, documented and, of a ProtocolError, in use", async () => {
  const root = new URL("../../", import.meta.url);
  const readFile = (path: string) => Deno.readTextFile(new URL(path, root));
  const findCodes = (text: string, pattern: RegExp) =>
    [...new Set([...text.matchAll(pattern)].map(([, code]) => code))].toSorted();
  const sources: string[] = [];
  for (const folder of ["base", "net", "apps", "web", "misc"]) {
    for await (const path of listModules(new URL(`${folder}/`, root))) {
      sources.push(await Deno.readTextFile(path));
    }
  }
  const [types, docs] = [await readFile("base/errors.ts"), await readFile("docs/base.md")];
  const thrown = /(?:new ProtocolError\(|super\()\s*"([A-Z_]+)"/g;
  for (const name of ["ProtocolError", "TlsError"]) {
    const [type = ""] = new RegExp(`type ${name}Code =[^;]*;`).exec(types) ?? [];
    const codes = findCodes(type, /"([A-Z_]+)"/g);
    assert(codes.length > 10, name);
    const [table = ""] = new RegExp(`\n### ${name}\n[^]*?\n##`).exec(docs) ?? [];
    assertEquals(findCodes(table, /^\| `([A-Z_]+)`/gm), codes);
    if (name === "ProtocolError") assertEquals(findCodes(sources.join("\n"), thrown), codes);
  }
});

async function* listModules(folder: URL): AsyncIterable<URL> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) yield* listModules(new URL(`${name}/`, folder));
    else if (name.endsWith(".ts")) yield new URL(name, folder);
  }
}

// Checks of arguments and options.

const KNOWN = ["timeout", "host"];

Deno.test("later changes to options, and getters, have no effect", () => {
  let readCount = 0;
  const options = {
    host: "a",
    get timeout() {
      return ++readCount;
    },
  };
  const copy = copyOptions(options, KNOWN);
  options.host = "b";
  assertEquals([copy.host, copy.timeout, copy.timeout, readCount], ["a", 1, 1, 1]);
});

Deno.test("an unknown option is a TypeError that names it and lists the known ones", () => {
  for (const name of ["Timeout", "", "__proto__x", "toString", "a\nb"]) {
    const { message } = assertThrows(() => copyOptions({ [name]: 1 }, KNOWN), TypeError);
    assertStringIncludes(message, JSON.stringify(name));
    for (const name of KNOWN) assertStringIncludes(message, name);
  }
});

Deno.test("each given option is read and checked once, and undefined ones are left out", () => {
  interface Options {
    size?: number | undefined;
    fast?: boolean | undefined;
  }
  const check = (options: object) => {
    const checks = { size: makeIntegerCheck(1, 4), fast: checkBoolean };
    return checkOptions<Options>(options, checks, ["name"]);
  };
  let readCount = 0;
  const options = {
    get size() {
      return ++readCount;
    },
    fast: undefined,
    name: 1,
  };
  assertEquals(check(options), { size: 1, name: 1 } as Options);
  assertEquals(readCount, 1);
  assertThrows(() => check({ size: 5 }), RangeError, "size: must be an integer from 1 to 4; got 5");
  assertThrows(() => check({ fast: null }), TypeError, "fast: must be a boolean; got null");
  assertThrows(() => check({ slow: 1 }), TypeError, "the options are size, fast, name");
});

Deno.test("only own properties of an object are options", () => {
  const inherited = Object.create({ timeout: 1, surprise: 2 });
  assertEquals(Object.keys(copyOptions(inherited, KNOWN)), []);
  const polluted = JSON.parse('{"__proto__": {"timeout": 1}}');
  assertThrows(() => copyOptions(polluted, KNOWN), TypeError, "__proto__");
  assert(!("timeout" in copyOptions({}, KNOWN)));
});

// Printed objects and messages contain everything except secrets.

const SECRET_NAMES = ["authorization", "cookie", "proxy-authorization", "set-cookie"];
const SECRET = "s3cr3t-value";

Deno.test("the value of a secret header is never printed or quoted, with a name in any case", () => {
  for (const name of SECRET_NAMES.flatMap((name) => [name, name.toUpperCase()])) {
    const headers = hideSecretsIn({ [name]: SECRET, host: "a" });
    assertEquals(headers[name], SECRET);
    assertEquals(Object.keys(headers), [name, "host"]);
    for (const output of [Deno.inspect(headers), inspectOfNode(headers), Deno.inspect([headers])]) {
      assert(!output.includes(SECRET), output);
      assertStringIncludes(output, name);
      assertStringIncludes(output, '"a"'.slice(1, -1));
    }
    assert(!quoteValue(name, SECRET).includes(SECRET), name);
    for (const separator of [": ", ":", " : "]) {
      assert(
        !quoteLine(encodeLatin1(`${name}${separator}${SECRET}`)).includes(SECRET),
        name + separator,
      );
    }
    assertEquals(quoteLine(encodeLatin1(`${name}: ${SECRET}`)), JSON.stringify(name));
  }
  assertEquals(quoteLine(encodeLatin1("x-a: b")), '"x-a: b"');
});

Deno.test("a folded line is not quoted, because it may continue a secret", () => {
  for (const space of [" ", "\t"]) {
    assert(!quoteLine(encodeLatin1(space + SECRET)).includes(SECRET));
  }
});

Deno.test("inspectFields shows the class and its fields, and hides the secrets in its headers", () => {
  class InspectedThing {
    [INSPECT](inspect: (value: unknown, options?: unknown) => string, options: unknown): string {
      const headers = Object.assign(Object.create(null), { cookie: SECRET, "x-a": "b" });
      return inspectFields("Thing", { method: "GET", headers }, inspect, options);
    }
  }
  for (const inspect of [Deno.inspect, inspectOfNode]) {
    const output = inspect(new InspectedThing());
    assert(/^Thing\(method=["']GET["'], headers=\{/.test(output), output);
    assert(!output.includes(SECRET) && !output.includes("null prototype"), output);
    assertStringIncludes(output, "x-a");
  }
});

// Names chosen by peers, in messages.

Deno.test("invisible characters, and characters that break a line, are replaced by their code points", () => {
  const cases: Record<string, string> = {
    "a b/Ö日😀~": "a b/Ö日😀~",
    "\n\r\t\0\x1b\x7f\x85": "\\u{a}\\u{d}\\u{9}\\u{0}\\u{1b}\\u{7f}\\u{85}",
    "\u200b\u202e\ufeff": "\\u{200b}\\u{202e}\\u{feff}",
    "\u2028\u2029": "\\u{2028}\\u{2029}",
    "\ud800": "\\u{d800}",
    "\u{e0001}": "\\u{e0001}",
  };
  for (const [message, expected] of Object.entries(cases)) {
    assertEquals(printable(message), expected);
  }
});

/** The letters that are removed from a set of a, b, c and d, in this order. */
const REMOVALS: readonly (readonly [rule: string, removed: string])[] = [
  ["the first", "a"],
  ["an entry in the middle", "b"],
  ["the last", "d"],
  ["an entry that was moved to the index of a removed entry", "ad"],
  ["all", "cabd"],
];

for (const [rule, removed] of REMOVALS) {
  Deno.test(`a SwapRemoveSet removes ${rule}, and no other entry`, () => {
    const set = new SwapRemoveSet<{ index: number; name: string }>();
    const entries = new Map([..."abcd"].map((name) => [name, { name, index: -1 }]));
    for (const entry of entries.values()) set.add(entry);
    for (const name of removed) {
      assertEquals(set.delete(entries.get(name)!), true);
      assertEquals(set.delete(entries.get(name)!), false);
      entries.delete(name);
    }
    assertEquals([...set].map(({ name }) => name).sort(), [...entries.keys()]);
    assertEquals(set.size, entries.size);
  });
}

Deno.test("an iteration over a SwapRemoveSet skips entries that are removed or added during it", () => {
  const set = new SwapRemoveSet<{ index: number; name: string }>();
  const entries = [..."abcd"].map((name) => ({ name, index: -1 }));
  for (const entry of entries) set.add(entry);
  const visited: string[] = [];
  for (const { name } of set) {
    if (visited.push(name) > 1) continue;
    for (const i of [0, 2]) set.delete(entries[i]!);
    set.add({ name: "e", index: -1 });
  }
  assertEquals(visited, ["a", "b", "d"]);
});
