import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import {
  Body,
  BodyError,
  ConnectionClosedError,
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
} from "@degu/degu/misc";
import { rejectionOf, thrownBy } from "@degu/testing/expectations.ts";
import { streamOf } from "@degu/testing/streams.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

/** Whether instances of the one class are instances of the other. */
function extendsClass(derived: { prototype: Error }, base: { prototype: Error }): boolean {
  return base.prototype === derived.prototype ||
    Object.prototype.isPrototypeOf.call(base.prototype, derived.prototype);
}

Deno.test("every error of the library extends DeguError and Error", () => {
  for (
    const each of [
      ProtocolError,
      EmptyPreambleError,
      BodyError,
      ConnectionClosedError,
      TlsError,
    ]
  ) {
    assert(extendsClass(each, DeguError), each.name);
  }
  assert(extendsClass(DeguError, Error));
  assert(extendsClass(EmptyPreambleError, ProtocolError));
  for (const each of [BodyError, ConnectionClosedError, TypeError, RangeError]) {
    assert(!extendsClass(ProtocolError, each) && !extendsClass(each, ProtocolError), each.name);
  }
});

Deno.test("ProtocolError keeps its code and message and has its name", () => {
  const error = new ProtocolError("BAD_URI", "the URI is bad");
  assertEquals([error.code, error.message, error.name], [
    "BAD_URI",
    "the URI is bad",
    "ProtocolError",
  ]);
  assert(String(error.stack).includes("ProtocolError"));
  assert(Deno.inspect(error).includes("the URI is bad"));
});

Deno.test("docs/base.md lists the codes of ProtocolError and of TlsError, and no others", async () => {
  const [source, docs] = await Promise.all(
    ["../../base/errors.ts", "../../docs/base.md"].map((path) =>
      Deno.readTextFile(new URL(path, import.meta.url))
    ),
  );
  const find = (text: string, section: RegExp, code: RegExp) =>
    Array.from((section.exec(text)?.[0] ?? "").matchAll(code), ([, found]) => found).toSorted();
  for (const name of ["ProtocolError", "TlsError"]) {
    const codes = find(source!, new RegExp(`type ${name}Code =[^;]*;`), /"([A-Z_]+)"/g);
    const listed = find(docs!, new RegExp(`\n### ${name}\n[^]*?\n##`), /^\| `([A-Z_]+)` /gm);
    assert(codes.length > 10, name);
    assertEquals(listed, codes);
  }
});

Deno.test("TlsError keeps its code, message and cause and has its name", () => {
  const cause = new Error("below");
  const error = new TlsError("UNTRUSTED", "who is that?", { cause });
  assertEquals([error.code, error.message, error.name, error.cause], [
    "UNTRUSTED",
    "who is that?",
    "TlsError",
    cause,
  ]);
  assert(!("cause" in new TlsError("CLOSED", "gone")));
});

Deno.test("errors have the names of their classes", async () => {
  const empty = thrownBy(() => parseRequest(new Uint8Array(0)), "nothing");
  assertInstanceOf(empty, EmptyPreambleError);
  assertEquals([empty.name, empty.code], ["EmptyPreambleError", "EMPTY_PREAMBLE"]);
  const body = new Body(streamOf(latin1("a")), 2);
  const cut = await rejectionOf(body.read(), "a short source");
  assertInstanceOf(cut, DeguError);
  assert(["BodyError", "ProtocolError"].includes(cut.name), cut.name);
});

Deno.test("the message of a ProtocolError quotes the bytes escaped and truncated", async (t) => {
  const bad = `\x00\x1b[31m\r\n\x7f\x9b\xff${"x".repeat(20000)}`;
  const line = bad.replaceAll("\r\n", "\r");
  const rows: Record<string, () => unknown> = {
    "request line": () => parseRequest(latin1(line)),
    "method": () => parseRequest(latin1(`${line} / HTTP/1.1`)),
    "URI of a request": () => parseRequest(latin1(`GET /${line} HTTP/1.1`)),
    "query of a request": () => parseRequest(latin1(`GET /?${line} HTTP/1.1`)),
    "protocol": () => parseRequest(latin1(`GET / ${line}`)),
    "header line": () => parseHeaders(latin1(line)),
    "header name": () => parseHeaders(latin1(`${line}: a`)),
    "header value": () => parseHeaders(latin1(`a: ${line}`)),
    "content-length": () => parseHeaders(latin1(`content-length: ${line}`)),
    "transfer-encoding": () => parseHeaders(latin1(`transfer-encoding: ${line}`)),
    "range header": () => parseHeaders(latin1(`range: ${line}`)),
    "duplicate": () => parseHeaders(latin1("a: b\r\na: c")),
    "status line": () => parseResponse("GET", latin1(line)),
    "status": () => parseResponse("GET", latin1(`HTTP/1.1 ${line} OK`)),
    "reason": () => parseResponse("GET", latin1(`HTTP/1.1 200 ${line}`)),
    "chunk size": () => parseChunkHeader(latin1(line.slice(0, 4000))),
    "chunk extension": () => parseChunkHeader(latin1(`5;${line.slice(0, 4000)}`)),
    "URI": () => parseUri(`/${bad}`),
    "query": () => parseUri(`/?${bad}`),
    "range": () => parseRange(bad),
    "content-range": () => parseContentRange(bad),
  };
  for (const [what, parse] of Object.entries(rows)) {
    await t.step(what, () => {
      const error = thrownBy(parse, what);
      assertInstanceOf(error, ProtocolError);
      assert(/^[ -~…]+$/.test(error.message), JSON.stringify(error.message.slice(0, 200)));
      assert(error.message.length < 400, `${error.message.length} characters`);
      assert(/^[A-Z]+(_[A-Z]+)*$/.test(error.code), error.code);
    });
  }
});

Deno.test("a ProtocolError quotes what is wrong", () => {
  const rows: [call: () => unknown, part: string][] = [
    [() => parseHeaders(latin1("a_b: c")), "a_b"],
    [() => parseHeaders(latin1("a: b{c")), "b{c"],
    [() => parseUri("/a//b"), "/a//b"],
    [() => parseRange("bytes=5-1"), "bytes=5-1"],
    [() => parseRequest(latin1("BREW / HTTP/1.1")), "BREW"],
    [() => parseResponse("GET", latin1("HTTP/1.1 999 OK")), "999"],
    [() => parseChunkHeader(latin1("0x5")), "0x5"],
  ];
  for (const [call, part] of rows) {
    const error = thrownBy(call, part);
    assertInstanceOf(error, ProtocolError);
    assert(error.message.includes(part), error.message);
  }
});

Deno.test("the message about a caller's mistake is short and on one line", () => {
  const long = "é\r\n\x1b".repeat(5000);
  for (
    const call of [
      () => formatHeaders({ [long]: "a" }),
      () => formatHeaders({ a: long }),
      () => formatRequest("GET", `/${long}`, {}),
    ]
  ) {
    const error = thrownBy(call, "a long text");
    assertInstanceOf(error, RangeError);
    assert(error.message.length < 400, `${error.message.length} characters`);
    assert(/^[ -~…]+$/.test(error.message), JSON.stringify(error.message.slice(0, 200)));
  }
});

Deno.test("every code of a ProtocolError is in its type, in use, and documented", async () => {
  const root = new URL("../../", import.meta.url);
  const read = (path: string) => Deno.readTextFile(new URL(path, root));
  const codesIn = (text: string, pattern: RegExp) =>
    [...new Set([...text.matchAll(pattern)].map(([, code]) => code))].toSorted();
  const [, type = ""] = /type ProtocolErrorCode =([^;]*);/.exec(await read("base/errors.ts")) ?? [];
  const codes = codesIn(type, /"([A-Z_]+)"/g);
  assert(codes.length > 20, type);

  const sources: string[] = [];
  for (const folder of ["base", "net", "apps", "web", "misc"]) {
    for await (const path of modulesIn(new URL(`${folder}/`, root))) {
      sources.push(await Deno.readTextFile(path));
    }
  }
  const thrown = /(?:new ProtocolError\(|super\()\s*"([A-Z_]+)"/g;
  assertEquals(codesIn(sources.join("\n"), thrown), codes);
  const [, table = ""] = /### ProtocolError\n(.*?)\n### /s.exec(await read("docs/base.md")) ?? [];
  assertEquals(codesIn(table, /^\| `([A-Z_]+)`/gm), codes);
});

async function* modulesIn(folder: URL): AsyncIterable<URL> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) yield* modulesIn(new URL(`${name}/`, folder));
    else if (name.endsWith(".ts")) yield new URL(name, folder);
  }
}
