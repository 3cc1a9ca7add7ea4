/** Directory entries, parsed piece by piece. */
import { assertEquals, assertThrows } from "@std/assert";
import { createHash } from "node:crypto";
import { type DirectoryEntry, TransferError, type TreeEntry } from "@degu/degu/files";
import { digestTree, EntryParser, formatEntry } from "@degu/internal/files/entries.ts";
import fc from "fast-check";
import { entry, NAMES } from "@degu/testing/directory_entries.ts";

/** Adds the entries of a text, which comes in pieces of so many bytes, to a list. */
function parse(text: string | Uint8Array, length = 7, parsed: DirectoryEntry[] = []) {
  const parser = EntryParser.ofDirectory();
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  for (let at = 0; at < bytes.length; at += length) {
    // A piece is only valid until the next one.
    const piece = bytes.slice(at, at + length);
    for (const entry of parser.push(piece)) parsed.push(entry);
    piece.fill(0);
  }
  parser.end();
  return parsed;
}

Deno.test("entries written as JSON are read back, however the bytes are split", () => {
  const makeEntry = fc.record({
    name: fc.constantFrom(...NAMES, "}", "{", "[", '\\"}', "],"),
    kind: fc.constantFrom("file" as const, "directory" as const),
    size: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
    modified: fc.date({ noInvalidDate: true }),
  });
  const property = fc.property(
    fc.array(makeEntry, { maxLength: 5 }),
    fc.integer({ min: 1, max: 300 }),
    fc.constantFrom(undefined, 1, "\t"),
    (entries, cut, space) => {
      assertEquals(parse(JSON.stringify(entries, null, space), cut), entries);
    },
  );
  fc.assert(property, { numRuns: 200 });
});

Deno.test("an entry with an invalid name, kind, size or time is an error, and earlier ones are returned", () => {
  const bad: Readonly<Record<string, unknown>>[] = [
    ...["", ".", "..", "a/b", "a\0b", "x".repeat(256), "\ud800", 1, null, undefined].map((
      name,
    ) => ({ name })),
    ...["symlink", "", "File", null, undefined, 1].map((kind) => ({ kind })),
    ...[-1, 1.5, "1", null, undefined, 2 ** 53, 1e300].map((size) => ({ size })),
    ...[
      "",
      "today",
      "2024-05-06",
      "2024-05-06T07:08:09Z",
      "2024-13-06T07:08:09.123Z",
      0,
      null,
      undefined,
    ]
      .map((modified) => ({ modified })),
    ...["link", "name", "", null, 1].map((reason) => ({ reason })),
    ...["", "x", "LINK", null, undefined, ["link"]].map((reason) => ({ kind: "other", reason })),
    { kind: "other", reason: "link", name: "x".repeat(256) },
    { more: { name: "a" } },
    { more: ["a"] },
    { more: "x".repeat(4096) },
  ];
  for (const fields of bad) {
    const good = entry({ name: "good" });
    const text = JSON.stringify([good, entry(fields)]);
    const parsed: DirectoryEntry[] = [];
    const error = assertThrows(() => parse(text, 7, parsed), TransferError, "bad entry");
    const names = parsed.map(({ name }) => name);
    assertEquals([error.code, names], ["BAD_LIST", ["good"]], text.slice(0, 200));
  }
});

Deno.test("anything that is not an array of objects is an error", () => {
  const e = JSON.stringify(entry());
  const texts = [
    "",
    " ",
    "{}",
    "null",
    e,
    "[",
    "[,]",
    `[${e}`,
    `[${e},`,
    `[${e},]`,
    `[${e}${e}]`,
    `[${e}]]`,
    `[${e}]x`,
    `[1]`,
    `["a"]`,
    `[[${e}]]`,
    `[null]`,
    `[{"a":1 "b":2}]`,
    `[{]`,
    `[}]`,
    "[]]",
    "[] []",
    "\ufeff[]",
    "[{",
    `[{"a`,
    "[\v]",
    `[${e.replace("file", "fi\\le")}]`,
  ];
  for (const text of texts) {
    const error = assertThrows(() => parse(text), TransferError);
    assertEquals(error.code, "BAD_LIST", text);
  }
  for (const text of ["[]", " [ ] \n", "\t[\r\n]"]) assertEquals(parse(text), []);
  const long = "é".repeat(127);
  const escaped = JSON.stringify([entry({ name: long })]).replaceAll("é", "\\u00e9");
  assertEquals(parse(escaped).map(({ name }) => name), [long]);
  const bytes = new Uint8Array([0x5b, 0x7b, 0x22, 0xff, 0x22, 0x7d, 0x5d]);
  assertThrows(() => parse(bytes), TransferError, "not JSON");
});

Deno.test("an entry that can't be downloaded has a reason, and any name if the name is the reason", () => {
  const modified = new Date(0);
  for (const reason of ["link", "special", "unreadable", "name"] as const) {
    for (const name of reason === "name" ? ["a", "\ufffd".repeat(255), "a\ufffd"] : ["a"]) {
      const text = formatEntry({ name }, { kind: "other", size: 0, modified, reason });
      assertEquals(parse(`[${text}]`), [{ name, kind: "other", size: 0, modified, reason }]);
    }
  }
  const path = ["sub", "a b"];
  assertEquals(
    formatEntry({ path }, { kind: "file", size: 5, modified }),
    '{"path":["sub","a b"],"kind":"file","size":5,"modified":"1970-01-01T00:00:00.000Z"}',
  );
});

Deno.test("the digest of a tree is of its paths, kinds, and sizes and times of files, in any order", () => {
  const modified = new Date(0);
  const tree = [
    { path: ["é"], kind: "file", size: 5, modified },
    { path: ["b"], kind: "directory", size: 4096, modified },
    { path: ["b", "c"], kind: "other", size: 7, modified, reason: "link" },
  ] as const;
  const lines = [
    '[["b","c"],"other",0,""]',
    '[["b"],"directory",0,""]',
    '[["é"],"file",5,"1970-01-01T00:00:00.000Z"]',
  ];
  const expected = createHash("sha256").update(lines.join("\n")).digest("hex");
  assertEquals(digestTree(tree), expected);
  assertEquals(digestTree(tree.toReversed()), expected);
  assertEquals(digestTree([]), createHash("sha256").digest("hex"));
});

/** The entries of the text of a tree's list, in pieces of so many bytes. */
function parseTree(text: string, length = 7, parsed: TreeEntry[] = []): TreeEntry[] {
  const parser = EntryParser.ofTree();
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length; at += length) {
    for (const entry of parser.push(bytes.slice(at, at + length))) parsed.push(entry);
  }
  parser.end();
  return parsed;
}

Deno.test("entries of trees are read back, however the bytes are split", () => {
  const makeEntry = fc.record({
    path: fc.array(fc.constantFrom(...NAMES, "}", "{", "[", "]", '\\"}', "],"), { minLength: 1 }),
    kind: fc.constantFrom("file" as const, "directory" as const),
    size: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
    modified: fc.date({ noInvalidDate: true }),
  });
  const property = fc.property(
    fc.array(makeEntry, { maxLength: 5 }),
    fc.integer({ min: 1, max: 300 }),
    fc.constantFrom(undefined, 1, "\t"),
    (entries, cut, space) => {
      const text = JSON.stringify([...entries, { end: true }], null, space);
      assertEquals(
        parseTree(text, cut),
        entries.map((entry) => ({ ...entry, name: entry.path.at(-1)! })),
      );
    },
  );
  fc.assert(property, { numRuns: 200 });
});

Deno.test("the list of a tree without its last element is an error, and so is anything behind it", () => {
  const [one] = [JSON.stringify({ ...entry(), name: undefined, path: ["a"] })];
  assertEquals(parseTree(`[${one},{"end":true}]\n`).length, 1);
  assertEquals(parseTree('[{"end":true}]'), []);
  for (
    const text of [
      "",
      "[",
      "[]",
      `[${one}]`,
      `[${one},]`,
      `[${one},{"end":true}`,
      `[{"end":true},${one}]`,
      '[{"end":true},{"end":true}]',
      '[{"end":true}]]',
      '[{"end":false}]',
      "{}",
    ]
  ) {
    const error = assertThrows(() => parseTree(text), TransferError);
    assertEquals(error.code, "BAD_LIST", text);
  }
});

Deno.test("a path of a tree is an array of names, of at most 4,096 bytes", () => {
  const parseOne = (path: unknown, more = {}) => {
    return parseTree(JSON.stringify([{ ...entry(), ...more, path }, { end: true }]));
  };
  const longest = [...new Array(16).fill("x".repeat(255)), "x"];
  assertEquals(longest.join("/").length, 4097);
  assertEquals(parseOne(longest.slice(1)).length, 1);
  assertThrows(() => parseOne(longest), TransferError, "more than 4096 bytes");
  for (const path of [undefined, null, "a", [], [1], ["a", ""], ["a", ".."], [["a"]], { a: 1 }]) {
    assertThrows(() => parseOne(path), TransferError, "bad entry");
  }
  const other = { kind: "other", reason: "name" };
  assertEquals(parseOne(["a", "x".repeat(300)], other)[0]?.reason, "name");
  assertThrows(() => parseOne(["a".repeat(40_000)], other), TransferError, "32768 bytes");
});

Deno.test("more than 64 KiB of white space between two entries is an error", () => {
  const lists = [(space: string) => `[${space}{`, (space: string) => `${space}[`];
  for (const list of lists) {
    const parser = EntryParser.ofDirectory();
    Array.from(parser.push(new TextEncoder().encode(list(" ".repeat(65536)))));
    assertThrows(
      () => {
        const space = new TextEncoder().encode(list("\n".repeat(65537)));
        Array.from(EntryParser.ofDirectory().push(space));
      },
      TransferError,
      "white space",
    );
  }
  const pairs = new Array(40).fill(JSON.stringify(entry())).join(",".padEnd(60_000));
  assertEquals(parse(`[${pairs}]`, 10_000).length, 40);
});
