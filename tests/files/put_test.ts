/** PUT: files that peers write. */
import { assertEquals } from "@std/assert";
import { BodyIter, ChunkedBodyIter, type HeaderDict } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import { fileUri } from "@degu/internal/files/file_name.ts";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import { entries, mode, tempDir } from "@degu/testing/directories.ts";
import { assertRangeError, assertTypeError, constructWith } from "@degu/testing/expectations.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { pattern } from "@degu/testing/served_directory.ts";
import { digestOf, serveForWriting, statusOf } from "@degu/testing/written_directory.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const linux = Deno.build.os === "linux";
/** The bits that this process takes from the mode of a new file. */
const UMASK_FILE = await modeOfNewFile();

async function modeOfNewFile(): Promise<number> {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "");
  return await mode(`${dir.path}/file`);
}

Deno.test("files of every size are written, whatever the kind of body", async (t) => {
  await using files = await serveForWriting();
  for (const size of [0, 1, 32768, 524287, 524288, 524289, 1_048_577, 3_000_000]) {
    await t.step(`${size} bytes`, async () => {
      const content = pattern(size);
      const bodies = [
        content,
        new BodyIter([content.subarray(0, 7), content.subarray(7)], size),
        new ChunkedBodyIter([
          ...(size > 0 ? [[null, content] as const] : []),
          [null, new Uint8Array(0)],
        ]),
      ];
      for (const [i, body] of bodies.entries()) {
        assertEquals(await files.put(`/new-${size}-${i}`, body), 201);
        assertEquals(await Deno.readFile(`${files.root}/new-${size}-${i}`), content);
      }
      assertEquals(await files.unfinished(), []);
    });
  }
  assertEquals(await files.put("/no-body", null), 201);
  assertEquals(await files.read("no-body"), "");
  assertEquals(files.warnings, []);
});

Deno.test("a new file is answered with 201, a replaced one with 204, both with the digest that was sent", async () => {
  await using files = await serveForWriting();
  const body = latin1("hello");
  const digest = digestOf(body);
  const put = async (headers: HeaderDict) => {
    const response = await files.request("PUT", "/a", headers, body);
    await response.body?.bytes();
    return [response.status, response.reason, response.headers["repr-digest"]];
  };
  assertEquals(await put({}), [201, "Created", undefined]);
  assertEquals(await put({}), [204, "No Content", undefined]);
  assertEquals(await put({ "repr-digest": digest }), [204, "No Content", digest]);
  await Deno.remove(`${files.root}/a`);
  const others = `sha-512=:AAAA:, ${digest}`;
  assertEquals(await put({ "repr-digest": others }), [201, "Created", digest]);
  assertEquals(await put({ "repr-digest": "sha-512=:AAAA:" }), [204, "No Content", undefined]);
});

Deno.test("a file with another digest, or a bad header, changes nothing", async () => {
  await using files = await serveForWriting();
  const wrong: HeaderDict[] = [
    { "repr-digest": digestOf(latin1("other")) },
    { "repr-digest": "sha-256=:AAAA:" },
    { "repr-digest": "x" },
    { "upload-modified": "yesterday" },
    { "upload-modified": "2020-02-30T00:00:00Z" },
    { "upload-modified": "2020-02-03" },
    { "upload-modified": "2020-02-03T00:00:00" },
    { "upload-modified": "2020-02-03T00:00:00.0Z" },
    { "upload-modified": "Wed, 05 Feb 2020 00:00:00 GMT" },
  ];
  for (const headers of wrong) {
    for (const uri of ["/file", "/new", "/sub/deep/new"]) {
      assertEquals(await files.put(uri, latin1("hello"), headers), 400, Deno.inspect(headers));
    }
  }
  assertEquals(await files.read("file"), "public");
  assertEquals(await entries(`${files.root}/sub`), ["file"]);
  assertEquals((await entries(files.root)).filter((name) => name !== RESERVED), ["file", "sub"]);
  assertEquals(await files.unfinished(), []);
});

Deno.test("the modification time that a peer sends is kept", async () => {
  await using files = await serveForWriting();
  const times = [
    "2020-02-29T12:34:56.789Z",
    "2024-02-29T12:34:56.679Z",
    "1999-12-31T23:59:59Z",
    "2099-01-01T00:00:00.001Z",
    "1969-12-31T23:59:59.999Z",
    "1960-01-01T00:00:00.001Z",
  ];
  for (const time of times) {
    const status = await files.put(`/${times.indexOf(time)}`, null, { "upload-modified": time });
    assertEquals(status, 201);
    const { mtime } = await Deno.stat(`${files.root}/${times.indexOf(time)}`);
    assertEquals(mtime?.toISOString(), new Date(time).toISOString());
  }
});

Deno.test("a new file has the default mode, a replaced one keeps its mode", async () => {
  await using files = await serveForWriting();
  await files.put("/new", latin1("x"));
  assertEquals(await mode(`${files.root}/new`), UMASK_FILE);
  for (const [kept, becomes] of [[0o600, 0o600], [0o755, 0o755], [0o444, 0o444], [0o4755, 0o755]]) {
    await Deno.chmod(`${files.root}/file`, kept!);
    assertEquals(await files.put("/file", latin1("x")), 204);
    assertEquals(await mode(`${files.root}/file`), becomes);
  }
  assertEquals(await mode(`${files.root}/${RESERVED}`), 0o700);
});

Deno.test("missing parent directories are made", async () => {
  await using files = await serveForWriting();
  const names = ["é", "a b", "~", "日本語"];
  assertEquals(await files.put(fileUri(...names), latin1("text")), 201);
  assertEquals(await files.read(names.join("/")), "text");
  assertEquals(await files.put(fileUri(...names), latin1("more")), 204);
  assertEquals(await files.put(fileUri("é", "other"), latin1("text")), 201);
});

Deno.test("an invalid file name is not written", async () => {
  await using files = await serveForWriting({ list: true });
  await Deno.mkdir(`${files.root}/empty`);
  const cases: [uri: string, status: number][] = [
    ["/", 403],
    [`/${RESERVED}`, 403],
    [`/${RESERVED}/a`, 403],
    [`/${RESERVED}/a/b`, 403],
    [`/${RESERVED}/`, 409],
    [`/sub/${RESERVED}`, 403],
    [`/sub/${RESERVED}/a`, 403],
    [`/new/${RESERVED}/a`, 403],
    [`/sub/${RESERVED.toUpperCase()}/a`, 403],
    ...[".a.degu-part", ".a.degu-part.new", ".a.degu-part.json", ".a.degu-part.json.tmp"].map((
      name,
    ): [string, number] => [`/sub/${name}`, 403]),
    ["/.a.Degu-Part", 403],
    ["/new/.a.degu-part/a", 403],
    ["/sub", 409],
    ["/sub/", 409],
    ["/empty", 409],
    ["/new/", 409],
    ["/file/", 409],
    ["/file/a", 409],
    ["/file/a/b", 409],
    ["/a:b", 404],
    ["/~61", 404],
    ["/.", 404],
    ["/~2E~2E/a", 404],
    ["/~2Fetc", 404],
    [`/${"n".repeat(256)}`, 404],
    [`/${`${"n".repeat(255)}/`.repeat(20)}a`, 414],
  ];
  for (const [uri, status] of cases) {
    assertEquals(await files.put(uri, latin1("x")), status, uri.slice(0, 40));
  }
  assertEquals(await files.unfinished(), []);
  assertEquals(
    (await entries(files.root)).filter((name) => name !== RESERVED),
    ["empty", "file", "sub"],
  );
});

Deno.test("only a writable app writes, and POST never does", async () => {
  await using files = await serveForWriting();
  const post = await files.request("POST", "/file", {}, latin1("x"));
  assertEquals(post.headers["allow"], "GET, HEAD, PUT, DELETE");
  assertEquals(await statusOf(post), 405);
  await using reader = await serveForWriting({ write: false });
  for (const method of ["PUT", "DELETE"] as const) {
    const response = await reader.request(
      method,
      "/file",
      {},
      method === "PUT" ? latin1("x") : null,
    );
    assertEquals(response.headers["allow"], "GET, HEAD");
    assertEquals(await statusOf(response), 405);
  }
  assertEquals(await reader.read("file"), "public");
});

Deno.test("no file exceeds the size limit", async () => {
  await using files = await serveForWriting({ maxBytes: 1000 });
  assertEquals(await files.put("/a", pattern(1000)), 201);
  assertEquals(await files.put("/b", pattern(1001)), 413);
  const chunked = (size: number) =>
    new ChunkedBodyIter([[null, pattern(size)], [null, new Uint8Array(0)]]);
  assertEquals(await files.put("/c", chunked(1000)), 201);
  assertEquals(await files.put("/d", chunked(1001)), 413);
  assertEquals(
    await files.put(
      "/e",
      new ChunkedBodyIter([[null, pattern(600)], [null, pattern(401)], [null, new Uint8Array(0)]]),
    ),
    413,
  );
  assertEquals(await files.unfinished(), []);
  await using nothing = await serveForWriting({ maxBytes: 0 });
  assertEquals(await nothing.put("/a", pattern(0)), 201);
  assertEquals(await nothing.put("/b", pattern(1)), 413);
});

Deno.test("a refusal comes before the body is sent", async () => {
  await using files = await serveForWriting({ maxBytes: 1000 });
  const refused = [
    ["/sub", "content-length: 5", "409"],
    ["/new", "content-length: 1001", "413"],
    ["/new", "content-length: 5\r\nif-match: *", "412"],
    ["/", "content-length: 5", "403"],
    ["/new", "content-length: 5\r\nrepr-digest: x", "400"],
  ];
  for (const [uri, headers, status] of refused) {
    using peer = await RawPeer.connect(files.serving.address);
    await peer.send(`PUT ${uri} HTTP/1.1\r\n${headers}\r\n\r\n`);
    const preamble = await peer.readUntil("\r\n\r\n");
    assertEquals(preamble.slice(9, 12), status, uri);
  }
});

Deno.test("a truncated body leaves nothing behind", async () => {
  await using files = await serveForWriting();
  for (const uri of ["/file", "/new", "/deep/new"]) {
    for (const sent of ["", "12345"]) {
      {
        using peer = await RawPeer.connect(files.serving.address);
        await peer.send(`PUT ${uri} HTTP/1.1\r\ncontent-length: 10\r\n\r\n${sent}`);
        while ((await files.unfinished()).length === 0);
      }
      while ((await files.unfinished()).length > 0);
    }
  }
  assertEquals(await files.read("file"), "public");
  assertEquals((await entries(files.root)).filter((name) => name !== RESERVED), ["file", "sub"]);
});

Deno.test({
  name: "during a replacement GET returns the old file or the new one, always whole",
  ignore: !linux,
  async fn() {
    await using files = await serveForWriting();
    const contents = [1, 2, 3].map((value) => new Uint8Array(400_000).fill(value));
    await files.put("/a", contents[0]!);
    let over = false;
    const write = async () => {
      for (let i = 1; i < 15; i++) await files.put("/a", contents[i % 3]!);
      over = true;
    };
    const read = async () => {
      using conn = await files.serving.makeClient().connect();
      while (!over) {
        const { status, body } = await conn.get("/a");
        assertEquals(status, 200);
        const bytes = await body!.bytes();
        assertEquals(bytes.length, 400_000);
        assertEquals(bytes.indexOf(bytes[0]! % 3 + 1), -1, "bytes of two versions");
      }
    };
    await Promise.all([write(), read()]);
    assertEquals(files.serving.logger.at("error"), []);
  },
});

Deno.test("the options for writing are validated", async () => {
  await using dir = await tempDir();
  const wrong: object[] = [{ write: 1 }, { maxBytes: "1" }, { maxBytes: null }, { logger: {} }, {
    logger: 5,
  }];
  for (const options of wrong) {
    assertTypeError(() => constructWith(FilesApp, dir.path, options), Deno.inspect(options));
  }
  for (const maxBytes of [-1, 1.5, NaN, Infinity, 2 ** 53]) {
    assertRangeError(() => new FilesApp(dir.path, { maxBytes }), `${maxBytes}`);
  }
  assertEquals(await entries(dir.path), [], "nothing is made before it is needed");
});
