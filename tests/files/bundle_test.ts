/** Bundles: many small files in one message, each with the promises of a single one. */
import { Body, BodyIter, ChunkedBody, ChunkedBodyIter, type Response } from "@degu/degu/base";
import { type FileEvent, FilesApp, type FilesOptions } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import { tieToTrust } from "@degu/internal/base/app/session.ts";
import {
  BUNDLE_END,
  BundleError,
  type BundleFormat,
  DIGEST_ANSWER,
  formatPaths,
  formatRecord,
  type FoundRecord,
  GET_ANSWER,
  MAX_LINE_BYTES,
  PUT_ANSWER,
  PUT_REQUEST,
} from "@degu/internal/files/bundle.ts";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import {
  bundleBytes,
  parseBundle,
  putStatuses,
  recordBytes,
  recordsOf,
  type Sent,
  sha256Of,
} from "@degu/testing/bundles.ts";
import { makeSession } from "@degu/testing/calling.ts";
import { runCommand } from "@degu/testing/commands.ts";
import { entries, mode, tempDir } from "@degu/testing/directories.ts";
import { RawPeer, within } from "@degu/testing/raw_peer.ts";
import { pattern } from "@degu/testing/served_directory.ts";
import { makeLinks, startExchanging, untilNoneOpenBelow } from "@degu/testing/special_files.ts";
import { concat } from "@degu/testing/streams.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";
import { chunked, serveForWriting, statusOf } from "@degu/testing/written_directory.ts";
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Buffer } from "node:buffer";
import { answersOf, canMount, canRun, MOUNTING } from "./refused_writes.ts";

// Bundles: many small files in one message.

const SHA256 = "0123456789abcdef".repeat(4);
const FILE = { path: ["a"], size: 3, modified: new Date(0), sha256: SHA256 };
const encode = (text: string) => new TextEncoder().encode(text);

const name = fc.oneof(
  fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }).filter((text) =>
    text.isWellFormed()
  ),
  fc.constantFrom('"', "\\", "\n", "\u2028", "\ufeff", "é", "😀", "\x7f", "__proto__", "{}"),
);
const path = fc.array(name, { minLength: 1, maxLength: 4 });
const content = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.constantFrom(65534, 65535).map((length) => new Uint8Array(length).fill(10)),
);
const file = fc.record({
  path,
  modified: fc.date({ noInvalidDate: true }),
  sha256: fc.constantFrom(SHA256, "f".repeat(64)),
});
const CUTS = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.constant(2 ** 20));

Deno.test("records and their contents are read back, however the bytes are split", () => {
  const nothing = new Uint8Array(0);
  const found = fc.oneof(
    fc.tuple(file, content).map(([record, bytes]) =>
      [{ ...record, status: 200, size: bytes.length }, bytes] as const
    ),
    fc.tuple(path, fc.constantFrom(403, 404, 409, 413, 503)).map(([path, status]) =>
      [{ path, status }, nothing] as const
    ),
  );
  const put = fc.oneof(
    fc.tuple(file, content, fc.constantFrom({}, { "if-none-match": "*" })).map((
      [record, bytes, isNew],
    ) => [{ ...record, size: bytes.length, ...isNew }, bytes] as const),
    path.map((path) => [{ path, kind: "directory" }, nothing] as const),
  );
  const check = (
    format: BundleFormat<unknown>,
    records: fc.Arbitrary<readonly [object, Uint8Array]>,
  ) => {
    const property = fc.property(fc.array(records, { maxLength: 5 }), CUTS, (written, cut) => {
      const expected = written.map(([record, bytes]) => ({
        record,
        content: format.hasContent ? bytes : nothing,
      }));
      const parts = expected.flatMap(({ record, content }) => [
        encode(formatRecord(record as FoundRecord)),
        content,
      ]);
      assertEquals(parseBundle(format, concat([...parts, encode(BUNDLE_END)]), cut), expected);
    });
    fc.assert(property, { numRuns: 25 });
  };
  check(GET_ANSWER, found);
  check(DIGEST_ANSWER, found);
  check(PUT_REQUEST, put);
  for (const status of [201, 204, 400, 403, 404, 409, 412, 413, 414, 503, 507] as const) {
    const text = formatRecord({ status }) + BUNDLE_END;
    assertEquals(parseBundle(PUT_ANSWER, encode(text)).map(({ record }) => record), [{ status }]);
  }
});

Deno.test("a line is the shortest form of its JSON, has all keys of its record and no other", () => {
  const good = JSON.stringify(FILE);
  const time = '"1970-01-01T00:00:00.000Z"';
  const size = (text: string) => good.replace('"size":3', `"size":${text}`);
  const key = (...values: string[]) => values.map((value) => good.replace("}", `,${value}}`));
  const rows: Readonly<Record<string, readonly string[]>> = {
    "no record": ["", " ", "null", "[]", "1", '"end"', "{}"],
    "a bad end": ['{"end":false}', '{"end":true,"path":["a"]}', '{"end":true }'],
    "white space": [` ${good}`, `${good} `, `${good}\r`, `\ufeff${good}`, good.replace(",", ", ")],
    "an escape that is not needed": [good.replace('"a"', '"\\u0061"')],
    "a bad size": ["3.0", "3e0", "-0", "-1", "1.5", '"3"', "null", "65536"].map(size),
    "a key too many": [
      ...['3,"size":3', '3,"mode":1', '3,"__proto__":1'].map(size),
      ...key('"if-none-match":"a"', '"status":200', '"kind":"file"'),
    ],
    "a key too few": [good.replace('"size":3,', ""), good.replace('"path":["a"],', "")],
    "a bad path": ["[]", '"a"', "[1]", "[null]", '[["a"]]'].map((path) =>
      good.replace('["a"]', path)
    ),
    "a bad time": ['"1970-01-01"', '"1970-02-30T00:00:00.000Z"', "0"].map((other) =>
      good.replace(time, other)
    ),
    "a bad digest": [SHA256.toUpperCase(), SHA256.slice(1)].map((text) =>
      good.replace(SHA256, text)
    ),
    "another record": [
      ...['{"path":["a"],"kind":"file"}', '{"path":["a"],"kind":"directory","size":0}'],
      ...['{"path":[],"kind":"directory"}', '{"path":["a"],"status":404}'],
    ],
    "no JSON": [
      good.slice(0, -1),
      ...[5000, 30_000].map((count) => "[".repeat(60_000 - count) + "]".repeat(count)),
    ],
  };
  for (const [rule, lines] of Object.entries(rows)) {
    for (const line of lines) {
      const bytes = encode(`${line}\nabc${BUNDLE_END}`);
      const shown = `${rule}: ${line.slice(0, 200)}`;
      assertThrows(() => parseBundle(PUT_REQUEST, bytes), BundleError, undefined, shown);
    }
  }
  assertEquals(parseBundle(PUT_REQUEST, encode(`${good}\nabc${BUNDLE_END}`)), [
    { record: FILE, content: encode("abc") },
  ]);
  for (const answer of ['{"status":200}', '{"status":"204"}', '{"status":204,"path":["a"]}']) {
    assertThrows(() => parseBundle(PUT_ANSWER, encode(`${answer}\n${BUNDLE_END}`)), BundleError);
  }
  for (
    const answer of [
      '{"path":["a"],"status":500}',
      '{"path":["a"],"status":200}',
      '{"path":["a"],"status":404,"size":0}',
      '{"path":[],"status":404}',
    ]
  ) {
    assertThrows(() => parseBundle(GET_ANSWER, encode(`${answer}\n${BUNDLE_END}`)), BundleError);
  }
  // Where no content follows, nothing else shows that a size is wrong.
  for (const wrong of ["-1", "1.5", '"3"', "null", "65536"]) {
    const answer = `${size(wrong).replace("{", '{"status":200,')}\n${BUNDLE_END}`;
    const parse = () => parseBundle(DIGEST_ANSWER, encode(answer));
    assertThrows(parse, BundleError, "a bad size", wrong);
  }
  const invalid = encode(`${good}\nabc${BUNDLE_END}`);
  invalid[good.indexOf('"a"') + 1] = 0xff;
  assertThrows(() => parseBundle(PUT_REQUEST, invalid), BundleError, "not JSON");
});

Deno.test("a bundle that is cut anywhere, or goes on after its end, is an error", () => {
  const whole = `${formatRecord(FILE)}abc${formatRecord({ path: ["b"], kind: "directory" })}` +
    BUNDLE_END;
  for (let length = 0; length < whole.length; length++) {
    const cut = encode(whole.slice(0, length));
    assertThrows(() => parseBundle(PUT_REQUEST, cut), BundleError, "it ends early", `${length}`);
  }
  assertEquals(parseBundle(PUT_REQUEST, encode(whole)).length, 2);
  for (const more of ["\n", " ", BUNDLE_END]) {
    for (const length of [1, 1000]) {
      const bytes = encode(whole + more);
      assertThrows(
        () => parseBundle(PUT_REQUEST, bytes, length),
        BundleError,
        "bytes follow the end",
      );
    }
  }
});

Deno.test("a line has at most 65,536 bytes, also where its end has not arrived", () => {
  const line = (length: number) => {
    const empty = JSON.stringify({ path: [""], kind: "directory" });
    return encode(empty.replace('""', `"${"a".repeat(length - empty.length - 1)}"`) + "\n");
  };
  assertEquals(line(MAX_LINE_BYTES).length, MAX_LINE_BYTES);
  const end = encode(BUNDLE_END);
  for (const cut of [1000, 2 ** 20]) {
    const longest = new Uint8Array([...line(MAX_LINE_BYTES), ...end]);
    assertEquals(parseBundle(PUT_REQUEST, longest, cut).length, 1);
    const longer = line(MAX_LINE_BYTES + 1);
    assertThrows(() => parseBundle(PUT_REQUEST, longer, cut), BundleError, "more than 65536 bytes");
    const endless = longer.subarray(0, MAX_LINE_BYTES);
    assertThrows(
      () => parseBundle(PUT_REQUEST, endless, cut),
      BundleError,
      "more than 65536 bytes",
    );
  }
});

// Requests for bundles, and with bundles: each file has the promises of a single one.

const mayMount = await canMount();

/** A directory that is served for writing, with requests for bundles. */
async function serveBundles(options: FilesOptions = {}) {
  const files = await serveForWriting(options);
  return {
    ...files,
    get: (uri: string, paths: readonly string[]) =>
      files.request("POST", uri, {}, formatPaths(paths.map((path) => path.split("/")))),
    sendAll: async (sent: readonly Sent[], uri = "/?bundle=put") =>
      await putStatuses(await files.request("POST", uri, {}, bundleBytes(sent))),
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  };
}

Deno.test("a bundle has each file that was requested, or the reason why not, in the order of the request", async () => {
  await using files = await serveBundles({ write: false });
  const { root } = files;
  const contents = [0, 1, 40_000, 65_535, 65_536].map((size) => [`size-${size}`, pattern(size)]);
  for (const [name, content] of contents as [string, Uint8Array][]) {
    await Deno.writeFile(`${root}/${name}`, content);
  }
  await Deno.writeTextFile(`${root}/sub/é "quoted"\n`, "unusual");
  const old = new Date("1960-01-01T00:00:00.001Z");
  await Deno.utime(`${root}/size-1`, old, old);
  const targets = ["size-65535", "size-65536", "sub", "none"];
  await makeLinks(Object.fromEntries(targets.map((name) => [`${root}/to-${name}`, name])));
  const expected: [path: string, content: Uint8Array | string | number][] = [
    ["to-size-65535", pattern(65_535)],
    ["to-size-65536", 413],
    ["to-sub", 404],
    ["to-none", 404],
    ["file", "public"],
    ...(contents.slice(0, 4) as [string, Uint8Array][]),
    ["size-65536", 413],
    ["sub/file", "public"],
    ["sub/none", 404],
    ['sub/é "quoted"\n', "unusual"],
    ["sub", 404],
    ["file", "public"],
    ["sub/file", "public"],
  ];
  const paths = expected.map(([path]) => path);
  for (
    const [uri, format] of [
      ["/?bundle=get", GET_ANSWER],
      ["/?bundle=digest", DIGEST_ANSWER],
    ] as const
  ) {
    const records = await recordsOf(format, await files.get(uri, paths));
    assertEquals(records.length, expected.length);
    for (const [i, [path, wanted]] of expected.entries()) {
      const { record, content } = records[i]!;
      assertEquals([record.path.join("/"), record.status], [
        path,
        typeof wanted === "number" ? wanted : 200,
      ]);
      if (record.status !== 200 || typeof wanted === "number") continue;
      const bytes = typeof wanted === "string" ? latin1(wanted) : wanted;
      assertEquals([record.size, record.sha256], [bytes.length, sha256Of(bytes)]);
      assertEquals(content, format.hasContent ? bytes : new Uint8Array(0));
    }
    const one = records[paths.indexOf("size-1")]!.record;
    assertEquals(one.status === 200 && one.modified, old);
  }
  const below = await recordsOf(GET_ANSWER, await files.get("/sub/?bundle=get", ["file", "none"]));
  assertEquals(below.map(({ record }) => record.status), [200, 404]);
  const gone = await recordsOf(GET_ANSWER, await files.get("/gone/?bundle=get", ["a"]));
  assertEquals(gone.map(({ record }) => record.status), [404]);
});

Deno.test("a request for files is a list of at most 10,000 paths and 4 MiB", async () => {
  await using files = await serveBundles({ write: false });
  const answer = async (uri: string, body: Uint8Array | ChunkedBodyIter | null) =>
    await statusOf(await files.request("POST", uri, {}, body));
  const many = (count: number) =>
    formatPaths(Array.from({ length: count }, () => ["..", "n".repeat(200)]));
  const get = "/?bundle=get";
  assertEquals(await answer(get, null), 200);
  assertEquals(await answer(get, many(10_000)), 200);
  assertEquals(await answer(get, many(10_001)), 413);
  assertEquals(await answer(get, new Uint8Array(4 * 1048576 + 1).fill(10)), 413);
  assertEquals(await answer(get, chunked(...Array(3).fill(many(1000)))), 200);
  assertEquals(await answer(get, chunked(...Array(30).fill(many(1000)))), 413);
  const longest = (length: number) => formatPaths([["a".repeat(length)]]);
  assertEquals(await answer(get, longest(32763)), 200);
  const full = concat(Array(128).fill(longest(32763)));
  assertEquals(full.length, 4 * 1048576);
  for (const body of [full, chunked(full)]) assertEquals(await answer(get, body), 200);
  assertEquals(await answer(get, chunked(full, longest(1))), 413);
  const bad = [
    ...['["a"]', '"a"\n', "[]\n", '["a"] \n', '["a"]\r\n', "\n", "[1]\n", '{"path":["a"]}\n'],
    ...[BUNDLE_END, '["\xff"]\n'],
  ];
  for (const text of bad) assertEquals(await answer(get, latin1(text)), 400, text);
  assertEquals(await answer(get, longest(32764)), 400);
  for (const uri of ["/sub?bundle=get", "/file?bundle=get", "/a:b/?bundle=get"]) {
    assertEquals(await answer(uri, many(1)), 404, uri);
  }
  for (const uri of ["/", "/?bundle", "/?bundle=", "/?bundle=all", "/?bundle=get&x", "/?tree"]) {
    assertEquals(await answer(uri, many(1)), 405, uri);
  }
});

Deno.test("a bundle of many directories is whole, in pieces that are never larger than half a mebibyte", async () => {
  await using files = await serveBundles({ write: false });
  const paths: string[] = [];
  for (let d = 0; d < 30; d++) {
    await Deno.mkdir(`${files.root}/d${d}`);
    for (let i = 0; i < 10; i++) {
      paths.push(`d${d}/${i}`);
      await Deno.writeFile(`${files.root}/d${d}/${i}`, pattern(d * 500 + i));
    }
  }
  const { body } = await files.get("/?bundle=get", paths);
  assert(body?.chunked);
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  for await (const [, data] of body) pieces.push(data as Uint8Array<ArrayBuffer>);
  assert(pieces.length > 5 && pieces.every(({ length }) => length < 524288));
  const whole = new Uint8Array(await new Blob(pieces).arrayBuffer());
  const records = parseBundle(GET_ANSWER, whole);
  assertEquals(records.map(({ record }) => record.path.join("/")), paths);
  for (const { record, content } of records) {
    const [d, i] = record.path.map((name) => Number(name.replace("d", "")));
    assertEquals(content, pattern(d! * 500 + i!));
  }
});

Deno.test({
  name: "no bundle has what is out of the root while a directory is exchanged for a link",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using files = await serveBundles();
    await Deno.writeTextFile(`${files.path}/outside/file`, "secret");
    const statuses = new Set<number>();
    {
      await using exchanger = await startExchanging(`${files.root}/sub`, `${files.path}/outside`);
      const over = performance.now() + 500;
      // On a busy machine the directory may be seen later.
      while (performance.now() < over || !statuses.has(200)) {
        const response = await files.get("/?bundle=get", Array(20).fill("sub/file"));
        for (const { record, content } of await recordsOf(GET_ANSWER, response)) {
          statuses.add(record.status);
          assert(record.status !== 200 || content.length === 6);
          if (record.status === 200) assertEquals(content, latin1("public"));
        }
      }
      assert(exchanger.running);
    }
    assertEquals([...statuses].filter((status) => ![200, 404, 409].includes(status)), []);
    await Deno.remove(`${files.path}/outside/file`);
  },
});

Deno.test("a file that is replaced once it was read is read again", async () => {
  await using files = await serveBundles();
  const path = `${files.root}/sub/file`;
  await Deno.writeTextFile(`${files.root}/other`, "newer");
  const { lstatSync } = Deno;
  let looks = 0;
  Deno.lstatSync = (at) => {
    if (at === path && ++looks === 2) Deno.renameSync(`${files.root}/other`, path);
    return lstatSync(at);
  };
  try {
    const response = await files.get("/?bundle=get", ["sub/file"]);
    const [one] = await recordsOf(GET_ANSWER, response);
    assertEquals([one!.record.status, one!.content], [200, latin1("newer")]);
  } finally {
    Deno.lstatSync = lstatSync;
  }
});

Deno.test("a file that can't be read has a status that says why, and is looked at three times at most", async () => {
  await using files = await serveBundles();
  const { lstatSync } = Deno;
  const failure = (code: string) => Object.assign(new Error(code), { code });
  const rows: [error: Error | null, status: number, looks: number][] = [
    [new Deno.errors.NotCapable(), 403, 1],
    [failure("ENOENT"), 404, 1],
    // Once more, to know whether a link leads out.
    ...["EPERM", "EACCES", "ENXIO", "EIO"].map((code): [Error, number, number] => {
      return [failure(code), 403, 2];
    }),
    [null, 409, 3],
  ];
  for (const [error, status, looks] of rows) {
    let seen = 0;
    Deno.lstatSync = (at) => {
      if (at !== `${files.root}/file`) return lstatSync(at);
      seen++;
      if (error !== null) throw error;
      return { ...lstatSync(at), ino: seen };
    };
    try {
      const response = await files.get("/?bundle=get", ["file", "sub/file"]);
      const statuses = (await recordsOf(GET_ANSWER, response)).map(({ record }) => record.status);
      assertEquals([...statuses, seen], [status, 200, looks], String(error));
    } finally {
      Deno.lstatSync = lstatSync;
    }
  }
  assertEquals(files.warnings.length, 2, "of what the disk does not give");
  // What changes all the time, through a link, too.
  await makeLinks({ [`${files.root}/link`]: "sub/file" });
  const { compare } = Buffer;
  let compared = 0;
  Buffer.compare = () => {
    compared++;
    return 1;
  };
  try {
    const response = await files.get("/?bundle=get", ["sub/file", "link"]);
    const statuses = (await recordsOf(GET_ANSWER, response)).map(({ record }) => record.status);
    assertEquals([...statuses, compared], [409, 409, 6]);
  } finally {
    Buffer.compare = compare;
  }
});

Deno.test("a file that is overwritten again and again is 409, or one of its versions", async () => {
  await using files = await serveBundles();
  const versions = [1, 2].map((value) => new Uint8Array(60_000).fill(value));
  for (let turn = 0; turn < 30; turn++) {
    const writing = Deno.writeFile(`${files.root}/a`, versions[turn % 2]!);
    const [one] = await recordsOf(GET_ANSWER, await files.get("/?bundle=get", ["a"]));
    await writing;
    if (one!.record.status !== 200) continue;
    assertEquals(new Set(one!.content).size <= 1, true, "bytes of two versions");
  }
});

Deno.test("each file of a bundle gets a status, and what is refused changes nothing", async () => {
  await using files = await serveBundles({ maxBytes: 1000 });
  const { path, root } = files;
  await Deno.chmod(`${root}/file`, 0o600);
  const modified = new Date("2020-02-29T12:34:56.789Z");
  const isNew = { "if-none-match": "*" };
  const cases: [sent: Sent, status: number][] = [
    [["new", "1", { modified }], 201],
    [["file", "2"], 204],
    [["deep/er/a b", "3"], 201],
    [["deep/er/c", ""], 201],
    [["deep/er/c", ""], 204],
    [["deeper/d", ""], 201],
    [["deeper/d", ""], 204],
    [["new", "4"], 204],
    [["once", "5", isNew], 201],
    [["once", "6", isNew], 412],
    [["file", "7", isNew], 412],
    [["empty/dir", null], 201],
    [["empty/dir", null], 204],
    [["empty", null], 204],
    [["wrong", "8", { sha256: "0".repeat(64) }], 400],
    [["large", pattern(1001)], 413],
    [["largest", pattern(1000)], 201],
    [["new/below", "9"], 409],
    [["file", null], 409],
    [["..", "9"], 404],
    [["../outside/new", "9"], 404],
    [["../outside/new", null], 404],
    [["", "9"], 404],
    [["sub/", "9"], 404],
    [["a\0", "9"], 404],
    [["n".repeat(256), "9"], 404],
    [["d/".repeat(256) + "a", "9"], 404],
    [["sub/last", "10"], 201],
  ];
  const statuses = await files.sendAll(cases.map(([sent]) => sent));
  assertEquals(statuses, cases.map(([, status]) => status));
  assertEquals(await files.unfinished(), []);
  const read = async (path: string) => await files.read(path);
  assertEquals(await read("new"), "4");
  assertEquals([await read("file"), await mode(`${root}/file`)], ["2", 0o600]);
  assertEquals([await read("deep/er/a b"), await read("deep/er/c")], ["3", ""]);
  assertEquals([await read("once"), await read("sub/last")], ["5", "10"]);
  assertEquals(await entries(`${root}/empty`), ["dir"]);
  assertEquals(await entries(root), [
    RESERVED,
    ...["deep", "deeper", "empty", "file", "largest", "new", "once", "sub"],
  ]);
  assertEquals(await entries(`${root}/sub`), ["file", "last"]);
  const { mtime } = await Deno.stat(`${root}/new`);
  assertEquals(mtime, new Date(0));
  assertEquals(await files.sendAll([["new", "1", { modified }]], "/sub/deeper/?bundle=put"), [201]);
  assertEquals((await Deno.stat(`${root}/sub/deeper/new`)).mtime, modified);
  assertEquals(
    await mode(`${root}/sub/deeper/new`),
    await mode(`${root}/largest`),
  );
  const refused = cases.filter(([, status]) => status >= 400).length;
  assertEquals(files.warnings.length, refused);
  assert(!files.warnings.some((line) => line.includes("\n")));
  assertEquals(await Deno.readTextFile(`${path}/outside/secret`), "secret");
});

Deno.test("a bundle is written from every kind of body, and more files than are synced at once", async () => {
  await using files = await serveBundles();
  const sent = Array.from({ length: 100 }, (_, i): Sent => [`d${i % 7}/f${i}`, pattern(i * 30)]);
  const bytes = bundleBytes(sent);
  const pieces = () =>
    Array.from(
      { length: Math.ceil(bytes.length / 777) },
      (_, i) => bytes.subarray(i * 777, i * 777 + 777),
    );
  const bodies = [
    bytes,
    new BodyIter(pieces(), bytes.length),
    chunked(bytes),
    chunked(...pieces()),
  ];
  for (const [turn, body] of bodies.entries()) {
    const statuses = await putStatuses(await files.request("POST", "/?bundle=put", {}, body));
    assertEquals(statuses, sent.map(() => turn === 0 ? 201 : 204));
    for (const [path, content] of sent) {
      assertEquals(await Deno.readFile(`${files.root}/${path}`), content);
    }
  }
  assertEquals(await files.unfinished(), []);
  assertEquals(await files.sendAll([]), []);
});

Deno.test("only a writable app takes a bundle, at the path of a directory, and only a whole one", async () => {
  await using files = await serveBundles();
  const answer = async (body: Uint8Array | null, uri = "/?bundle=put") =>
    await putStatuses(await files.request("POST", uri, {}, body));
  const good = bundleBytes([["good", "1"]]);
  assertEquals(await answer(good, "/sub?bundle=put"), 404);
  assertEquals(await answer(good, "/a:b/?bundle=put"), 404);
  assertEquals(await answer(good, `/${RESERVED}/?bundle=put`), [403]);
  assertEquals(await answer(good, "/file/?bundle=put"), [409]);
  const bad = (end: string) => bundleBytes([["kept", "1"]], end);
  for (const end of ["", "{}\n", '{"end":1}\n', '{"end":true}', BUNDLE_END + "\n", '["a"]\n']) {
    assertEquals(await answer(bad(end)), 400, end);
    // What has arrived whole is in place: a client goes on behind it.
    assertEquals(await files.read("kept"), "1");
    await Deno.remove(`${files.root}/kept`);
  }
  assertEquals(await answer(null), 400);
  const record = recordBytes(["..", null]);
  const many = (count: number) => concat([...Array(count).fill(record), encode(BUNDLE_END)]);
  assertEquals((await answer(many(10_000)) as number[]).length, 10_000);
  assertEquals(await answer(many(10_001)), 413);
  await using reader = await serveBundles({ write: false });
  const response = await reader.request("POST", "/?bundle=put", {}, good);
  assertEquals(response.headers["allow"], "GET, HEAD");
  assertEquals(await statusOf(response), 405);
  assertEquals(await files.unfinished(), []);
});

Deno.test("of a bundle that is cut anywhere whole files are in place, and nothing else is left", async () => {
  const first = recordBytes(["new/first", "12345"]);
  const second = recordBytes(["new/second", "67890"]);
  const lengths = [0, 5, first.length - 1, first.length, first.length + 5, first.length + 100];
  for (const length of [...lengths, first.length + second.length - 1]) {
    await using files = await serveBundles();
    using peer = await RawPeer.connect(files.serving.address);
    await peer.send("POST /?bundle=put HTTP/1.1\r\ncontent-length: 100000\r\n\r\n");
    await peer.send(new Uint8Array([...first, ...second]).subarray(0, length));
    await peer.closeWrite();
    await peer.readToEnd();
    await files.serving.server.shutdown();
    assertEquals(await files.unfinished(), []);
    const there = await entries(`${files.root}/new`).catch(() => []);
    assertEquals(there, length >= first.length ? ["first"] : [], `${length}`);
    if (there.length > 0) assertEquals(await files.read("new/first"), "12345");
  }
});

Deno.test("a name that occurs again in a bundle is that of an existing file, also where names are listed", async () => {
  await using files = await serveBundles();
  const many = Array.from({ length: 40 }, (_, i): Sent => [`sub/${i}a`, `${i}`]);
  const sent: Sent[] = [
    ...many,
    ["sub/3a", "again"],
    ["sub/4a", "never", { "if-none-match": "*" }],
    // Where names are compared exactly, it is another one.
    ["sub/5A", "other", { "if-none-match": "*" }],
  ];
  assertEquals(await files.sendAll(sent), [...many.map(() => 201), 204, 412, 201]);
  assertEquals(await files.read("sub/3a"), "again");
  assertEquals(await files.read("sub/4a"), "4");
  assertEquals([await files.read("sub/5a"), await files.read("sub/5A")], ["5", "other"]);
});

Deno.test("while too many files are open, those of a bundle get their names before others are written", async () => {
  await using files = await serveBundles();
  const { openSync } = Deno;
  for (const code of ["EMFILE", "ENFILE"]) {
    const sent = Array.from({ length: 5 }, (_, i): Sent => [`${code}/${i}`, `${i}`]);
    Deno.openSync = (path, options) => {
      const waiting = Array.from(Deno.readDirSync(`${files.root}/${RESERVED}`)).length;
      if (waiting >= 2) throw Object.assign(new Error("too many open files"), { code });
      return openSync(path, options);
    };
    try {
      assertEquals(await files.sendAll(sent), sent.map(() => 201));
      // As long as nothing else ends that.
      Deno.openSync = () => {
        throw Object.assign(new Error("too many open files"), { code });
      };
      assertEquals(await files.sendAll(sent), sent.map(() => 503));
    } finally {
      Deno.openSync = openSync;
    }
  }
});

Deno.test("a file of a bundle that can't be synced to the disk gets no name, and costs no other", async () => {
  await using files = await serveBundles();
  const { sync } = Deno.FsFile.prototype;
  let count = 0;
  Deno.FsFile.prototype.sync = function () {
    const full = Object.assign(new Error("full"), { code: "ENOSPC" });
    return ++count === 2 ? Promise.reject(full) : sync.call(this);
  };
  try {
    assertEquals(await files.sendAll([["a", "1"], ["b", "2"], ["c", "3"]]), [201, 507, 201]);
  } finally {
    Deno.FsFile.prototype.sync = sync;
  }
  assertEquals(await entries(files.root), [RESERVED, "a", "c", "file", "sub"]);
  assertEquals(await files.unfinished(), []);
});

Deno.test("an error of the disk that is not one of a file ends a bundle, and is logged", async () => {
  await using files = await serveBundles();
  const { openSync } = Deno;
  Deno.openSync = () => {
    throw Object.assign(new Error("the disk is broken"), { code: "EIO" });
  };
  try {
    await assertRejects(() => files.sendAll([["a", "1"]]));
  } finally {
    Deno.openSync = openSync;
  }
  assertMatch(files.serving.logger.at("error").join(), /the disk is broken/);
  assertEquals(await files.unfinished(), []);
});

Deno.test("a bundle that does not go on has no file open (Linux)", async () => {
  await using files = await serveBundles();
  using peer = await RawPeer.connect(files.serving.address);
  await peer.send("POST /?bundle=put HTTP/1.1\r\ncontent-length: 100000\r\n\r\n");
  for (let i = 0; i < 40; i++) await peer.send(recordBytes([`${i}`, "x"]));
  while ((await files.unfinished()).length < 40);
  // The last one may still be written.
  if (Deno.build.os === "linux") await untilNoneOpenBelow(files.root);
  await peer.closeWrite();
  await peer.readToEnd();
  await files.serving.server.shutdown();
});

Deno.test("a link that replaces a directory between the arrival of a file and its rename is not followed", async () => {
  for (const target of ["../outside", "."]) {
    await using files = await serveBundles();
    const { root } = files;
    const body = new ChunkedBodyIter(
      (async function* () {
        yield [null, recordBytes(["sub/new", "12345"])] as const;
        while ((await files.unfinished()).length === 0);
        await Deno.rename(`${root}/sub`, `${root}/kept`);
        await makeLinks({ [`${root}/sub`]: target });
        yield [null, bundleBytes([["sub/other", "1"], ["file", "2"]])] as const;
        yield [null, new Uint8Array(0)] as const;
      })(),
    );
    const response = await files.request("POST", "/?bundle=put", {}, body);
    assertEquals(await putStatuses(response), [403, 403, 204]);
    assertEquals(await entries(`${root}/kept`), ["file"]);
    assertEquals(await files.unfinished(), []);
  }
});

Deno.test("a file that gets its name while a link replaces its directory is refused, though it is somewhere else now", async () => {
  await using files = await serveBundles();
  const { root } = files;
  await Deno.mkdir(`${root}/elsewhere`);
  await makeLinks({ [`${root}/link`]: "elsewhere" });
  const { linkSync } = Deno;
  Deno.linkSync = (from, to) => {
    Deno.renameSync(`${root}/sub`, `${root}/kept`);
    Deno.renameSync(`${root}/link`, `${root}/sub`);
    linkSync(from, to);
  };
  try {
    const sent: Sent[] = [["sub/new", "1", { "if-none-match": "*" }], ["file", "2"]];
    assertEquals(await files.sendAll(sent), [409, 204]);
  } finally {
    Deno.linkSync = linkSync;
  }
  assertEquals(await entries(`${root}/elsewhere`), ["new"]);
  assertEquals(await files.unfinished(), []);
});

Deno.test("a peer that is forgotten while its bundle arrives writes nothing more", async () => {
  await using dir = await tempDir();
  const app = new FilesApp(dir.path, { write: true });
  const session = makeSession();
  let admitted = true;
  tieToTrust(session, {
    signal: new AbortController().signal,
    confirm: () => Promise.resolve(admitted),
  });
  const body = new ChunkedBodyIter(
    (async function* () {
      const first = Array.from({ length: 64 }, (_, i): Sent => [`first/${i}`, "1"]);
      for (const sent of first) yield [null, recordBytes(sent)] as const;
      yield [null, recordBytes(["second", "2"])] as const;
      while ((await entries(`${dir.path}/${RESERVED}`)).length !== 1);
      admitted = false;
      yield [null, bundleBytes([["third", "3"]])] as const;
      yield [null, new Uint8Array(0)] as const;
    })(),
  );
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const sending = body.writeTo(writable).finally(() => writable.close());
  const request = mkreq("POST", "/?bundle=put", {}, new ChunkedBody(readable));
  const [status] = await app.handle(request, session);
  assertEquals(status, 403);
  await sending;
  assertEquals(await entries(dir.path), [RESERVED, "first"]);
  assertEquals((await entries(`${dir.path}/first`)).length, 64);
  assertEquals(await entries(`${dir.path}/${RESERVED}`), []);
});

Deno.test("files of a bundle that had their names before its peer was forgotten are reported", async () => {
  await using dir = await tempDir();
  const reported: string[] = [];
  const app = new FilesApp(dir.path, {
    write: true,
    onFile: ({ path }) => void reported.push(path.join("/")),
  });
  const session = makeSession();
  const placed = async () => (await entries(`${dir.path}/first`).catch(() => [])).length;
  const confirm = async () => await placed() < 64;
  tieToTrust(session, { signal: new AbortController().signal, confirm });
  const bundle = bundleBytes(Array.from({ length: 70 }, (_, i): Sent => [`first/${i}`, "1"]));
  const body = new Body(new Blob([bundle]).stream(), bundle.length);
  const [status] = await app.handle(mkreq("POST", "/?bundle=put", {}, body), session);
  assertEquals([status, await placed(), reported.length], [403, 64, 64]);
});

Deno.test("the directory of unfinished files is made again if it is removed while a bundle arrives", async () => {
  await using files = await serveBundles();
  const reserved = `${files.root}/${RESERVED}`;
  const body = new ChunkedBodyIter(
    (async function* () {
      for (let i = 0; i < 64; i++) yield [null, recordBytes([`first/${i}`, "1"])] as const;
      while ((await entries(`${files.root}/first`).catch(() => [])).length < 64);
      await Deno.remove(reserved);
      yield [null, bundleBytes([["second", "2"]])] as const;
      yield [null, new Uint8Array(0)] as const;
    })(),
  );
  const response = await files.request("POST", "/?bundle=put", {}, body);
  assertEquals(await putStatuses(response), new Array(65).fill(201));
});

Deno.test({
  name: "on a full disk the files that fit are written, and the others are 507 (needs unshare)",
  ignore: !mayMount,
  async fn() {
    await using dir = await tempDir();
    const mount = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"';
    const sent = Array.from({ length: 40 }, (_, i): Sent => [`d/f${i}`, pattern(60_000)]);
    const answers = await answersOf(dir.path, [...MOUNTING, mount, dir.path], [
      ["POST", "/?bundle=put", bundleBytes(sent)],
      ["POST", "/?bundle=get", formatPaths(sent.map(([path]) => path.split("/")))],
      ["GET", "/?tree"],
      // As much as there was before: nothing was left behind.
      ["POST", "/?bundle=put", bundleBytes(sent.slice(0, 5))],
    ]);
    const [put, got, list, again] = answers;
    const statuses = parseBundle(PUT_ANSWER, put![1]).map(({ record }) => record.status);
    const fitting = statuses.filter((status) => status === 201).length;
    assert(fitting > 5 && fitting < 20, `${fitting}`);
    assertEquals(statuses, sent.map((_, i) => i < fitting ? 201 : 507));
    assertEquals(got![0], 200);
    assertEquals(JSON.parse(new TextDecoder().decode(list![1])).length, fitting + 2);
    assertEquals(again![0], 200);
  },
});

/** Puts a file that can be opened and not read, as if its disk were damaged, in the place of one in the directory. */
const DAMAGING = [
  ...MOUNTING,
  'mount --bind /sys/class/net/lo/speed "$0/damaged" && ! cat "$0/damaged" 2>/dev/null && exec "$@"',
];
const mayDamage = await canDamage();

async function canDamage(): Promise<boolean> {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/damaged`, "");
  return await canRun(...DAMAGING, dir.path);
}

Deno.test({
  name:
    "a file that the disk does not give is 403, in a bundle too, and has no digest, and costs no other (needs unshare)",
  ignore: !mayDamage,
  async fn() {
    await using dir = await tempDir();
    for (const name of ["a", "damaged", "z"]) await Deno.writeTextFile(`${dir.path}/${name}`, name);
    await makeLinks({ [`${dir.path}/link`]: "damaged" });
    const body = formatPaths([["a"], ["damaged"], ["link"], ["z"]]);
    const answers = await answersOf(dir.path, [...DAMAGING, dir.path], [
      ["POST", "/?bundle=get", body],
      ["POST", "/?bundle=digest", body],
      ["HEAD", "/damaged"],
      ["GET", "/damaged"],
      ["GET", "/link"],
      ["GET", "/z"],
    ]);
    assertEquals(answers.slice(2).map(([status]) => status), [200, 403, 403, 200]);
    for (const [i, format] of [GET_ANSWER, DIGEST_ANSWER].entries()) {
      const records = parseBundle(format, answers[i]![1]);
      assertEquals(records.map(({ record }) => record.status), [200, 403, 403, 200]);
    }
  },
});

Deno.test("of two bundles with the same new file one gets 201, and 412 the other", async () => {
  await using files = await serveBundles();
  const sent = Array.from(
    { length: 100 },
    (_, i): Sent => [`new/${i}`, `${i}`, { "if-none-match": "*" }],
  );
  const [one, other] = await Promise.all([files.sendAll(sent), files.sendAll(sent)]);
  for (let i = 0; i < sent.length; i++) {
    const pair = [(one as number[])[i], (other as number[])[i]].toSorted();
    assertEquals(pair, [201, 412], `${i}`);
  }
});

Deno.test("onFile is called for each file that is sent, written or removed, and may throw", async () => {
  for (const throws of [false, true]) {
    const events: FileEvent[] = [];
    const onFile = (event: FileEvent) => {
      events.push(event);
      if (throws) throw new Error("from onFile");
    };
    await using files = await serveBundles({ list: true, onFile });
    await Deno.writeFile(`${files.root}/large`, pattern(3_000_000));
    const request = (...args: Parameters<typeof files.request>) => () => files.request(...args);
    const get = (uri: string, ...paths: string[]) => () => files.get(uri, paths);
    const sent = bundleBytes([["x", "123"], ["dir", null], ["sub", "1"]]);
    const rows: [ask: () => Promise<Response>, ...events: string[]][] = [
      [request("GET", "/file"), "get file 6 200"],
      [request("GET", "/sub/")],
      [request("GET", "/?tree")],
      [request("HEAD", "/file")],
      [request("GET", "/none")],
      [request("GET", "/sub/file", { "if-none-match": "*" })],
      [request("GET", "/large"), "get large 3000000 200"],
      [get("/sub/?bundle=get", "file", "none"), "get sub/file 6 200"],
      [get("/?bundle=digest", "file")],
      [request("PUT", "/a~20b", {}, latin1("12345")), "put a b 5 201"],
      [request("PUT", "/file", {}, latin1("1")), "put file 1 204"],
      [request("PUT", "/new/")],
      [request("PUT", "/sub", {}, latin1("1"))],
      [request("POST", "/sub/?bundle=put", {}, sent), "put sub/x 3 201", "put sub/sub 1 201"],
      [request("DELETE", "/a~20b"), "delete a b 0 204"],
      [request("DELETE", "/new")],
      [request("DELETE", "/none")],
    ];
    for (const [ask, ...expected] of rows) {
      await statusOf(await ask());
      const seen = events.splice(0).map(({ action, path, bytes, complete, status, session }) => {
        assert(complete && session !== undefined);
        return `${action} ${path.join("/")} ${bytes} ${status}`;
      });
      assertEquals(seen, expected);
    }
    const thrown = files.warnings.filter((line) => line.includes("from onFile")).length;
    assertEquals(thrown, throws ? 8 : 0);
    assertEquals(files.serving.logger.at("error"), []);
  }
});

Deno.test("onFile is told once of each file, whatever is refused between", async () => {
  const told: string[] = [];
  await using files = await serveBundles({ onFile: ({ path }) => told.push(path.join("/")) });
  for (const refused of [["file", null], ["sub/file", "1", { "if-none-match": "*" }]] as Sent[]) {
    const sent = Array.from({ length: 40 }, (_, i): Sent => i % 10 === 9 ? refused : [`${i}`, "1"]);
    await files.sendAll(sent);
    assertEquals(told.splice(0), sent.flatMap((each) => each === refused ? [] : [each[0]]));
  }
});

Deno.test("onFile is told of a file that was cut", async () => {
  const { promise, resolve } = Promise.withResolvers<FileEvent>();
  await using files = await serveBundles({ onFile: resolve });
  await Deno.writeFile(`${files.root}/large`, new Uint8Array(20_000_000));
  {
    using peer = await RawPeer.connect(files.serving.address);
    await peer.send("GET /large HTTP/1.1\r\n\r\n");
    await peer.readPreamble();
  }
  const { action, bytes, complete, status } = await within(promise, "an event");
  assertEquals([action, complete, status], ["get", false, 200]);
  assert(bytes < 20_000_000);
});

Deno.test("onFile is told of the files of a bundle that was cut", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/a`, "a");
  const events: FileEvent[] = [];
  const app = new FilesApp(dir.path, { onFile: (event) => void events.push(event) });
  const paths = formatPaths([["a"]]);
  const asked = new Body(new Blob([paths]).stream(), paths.length);
  const [, , , body] = await app.handle(mkreq("POST", "/?bundle=get", {}, asked));
  assert(body !== null && !(body instanceof Uint8Array));
  await assertRejects(() => body.writeTo({ write: () => Promise.reject(new Error("gone")) }));
  assertEquals(events.map(({ action, complete, status }) => [action, complete, status]), [
    ["get", false, 200],
  ]);
});

Deno.test("the program in docs/files.md reads a bundle (needs python3)", async () => {
  const docs = await Deno.readTextFile("docs/files.md");
  const [, program = ""] = /```python\n([^]*?)```/.exec(docs) ?? [];
  await using files = await serveBundles({ write: false });
  await Deno.mkdir(`${files.root}/é`);
  await Deno.writeFile(`${files.root}/é/a "b"`, pattern(60_000));
  const time = new Date("2026-01-02T03:04:05.678Z");
  for (const name of ["file", 'é/a "b"']) await Deno.utime(`${files.root}/${name}`, time, time);
  const [, port] = files.serving.address as [string, number];
  const args = ["127.0.0.1", `${port}`, "file", "none", 'é/a "b"'];
  const env = { PYTHONIOENCODING: "utf-8" };
  const { code, stdout, stderr } = await runCommand(["python3", "-c", program, ...args], { env });
  if (code === 127) return console.log("python3 is missing: its program is not tested");
  const modified = time.toISOString();
  assertEquals([stdout, stderr], [`file 6 ${modified}\nnone 404\né/a "b" 60000 ${modified}\n`, ""]);
});
