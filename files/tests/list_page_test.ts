/** The page of a directory: for whom it is made, its lines and its links. */
import { FilesApp } from "@degu/degu/files";
import { makeLinks } from "@degu/testing/special_files.ts";
import { serveDirectory, summarize } from "./served_directory.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

const listing = (dir: string) => new FilesApp(dir, { list: true });

const VARY = "upload-complete, upload-length, want-repr-digest";
const JSON_TYPE = "application/json";
const PAGE_TYPE = "text/html; charset=utf-8";

const BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";

for (
  const [accept, type] of [
    [null, PAGE_TYPE],
    ["*/*", PAGE_TYPE],
    ["application/*", PAGE_TYPE],
    [BROWSER, PAGE_TYPE],
    ["application/json;q=0", PAGE_TYPE],
    ["text/html, application/json ; q=0.000", PAGE_TYPE],
    ["application/json-seq", PAGE_TYPE],
    ["text/plain;x=application/json", PAGE_TYPE],
    ["application/json", JSON_TYPE],
    ["Application/JSON", JSON_TYPE],
    ["application/json, text/plain, */*", JSON_TYPE],
    ["text/html;q=0.1 ,\tapplication/json;charset=utf-8;q=0.01", JSON_TYPE],
  ] as const
) {
  Deno.test(`accept: ${accept} gets ${type}, and ?tree is always JSON`, async () => {
    await using files = await serveDirectory(listing);
    const headers = accept === null ? {} : { accept };
    const types = [];
    for (const uri of ["/", "/?", "/?query", "/?tree"]) {
      for (const method of ["get", "head"] as const) {
        const response = await files.conn[method](uri, headers);
        await response.body?.bytes();
        assertEquals(response.headers.vary, `${VARY}, accept`);
        types.push(response.headers["content-type"]);
      }
    }
    assertEquals(types, [...new Array(6).fill(type), JSON_TYPE, JSON_TYPE]);
  });
}
Deno.test("only the response that is a list varies by accept", async () => {
  await using files = await serveDirectory(listing);
  await using plainFiles = await serveDirectory();
  await files.write("a", "a");
  await plainFiles.write("index.html", "a");
  const varies = [files.conn.get("/a"), plainFiles.conn.get("/")];
  for (const response of await Promise.all(varies)) {
    assertEquals([response.headers.vary, await response.body!.text()], [VARY, "a"]);
  }
});

Deno.test("a page has a line for each entry, by name, and a link to the parent", async () => {
  await using files = await serveDirectory(listing);
  await files.mkdir("sub/b");
  await files.write("sub/c", "12345");
  await files.write("sub/index.html", "a file like others");
  await files.write(`sub/${"n".repeat(60)}`, "");
  await makeLinks({ [`${files.path}/sub/a`]: "c" });
  const time = new Date("2020-02-29T12:34:56.789Z");
  for (const name of ["b", "c", "index.html", "n".repeat(60)]) {
    await Deno.utime(`${files.path}/sub/${name}`, time, time);
  }
  const { mtime } = await Deno.lstat(`${files.path}/sub/a`);
  const linkTime = mtime!.toISOString().slice(0, 16).replace("T", " ");
  const line = (text: string, name: string, time: string, size: string) =>
    `${text}${" ".repeat(Math.max(1, 51 - name.length))}${time}${size.padStart(20)}`;
  const link = (name: string, size: string) =>
    line(`<a href="${name}">${name}</a>`, name, "2020-02-29 12:34", size);
  const [status, , text] = await summarize(await files.conn.get("/sub/"), "date");
  assertEquals(status, 200);
  assertEquals(
    text,
    [
      "<!doctype html>",
      '<html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">' +
      "<title>/sub/</title></head>",
      "<body><h1>/sub/</h1><pre>",
      '<a href="../">../</a>',
      line("a", "a", linkTime, "link"),
      link("b/", "-"),
      link("c", "5"),
      link("index.html", "18"),
      link("n".repeat(60), "0"),
      "</pre></body></html>",
      "",
    ].join("\n"),
  );
  const [, , rootText] = await summarize(await files.conn.get("/"), "date");
  assert(!`${rootText}`.includes("../"));
});

Deno.test("each link of a page leads to its entry, whatever its name, and no name is markup", async () => {
  await using files = await serveDirectory(listing);
  const names = [
    "a b",
    "a:b",
    "javascript:alert(1)",
    "<script>alert(1)<script>",
    "a&amp;b&lt",
    `"onload='x'`,
    "100%",
    "%2e%2e",
    "#a",
    "?a",
    "..a",
    "a;b=c",
    "a\\b",
    "Zoë ☂",
    "\u202egpj.exe",
    "line\nfeed",
    "~a",
  ];
  for (const name of names) {
    await Deno.writeTextFile(`${files.path}/${name}`, name);
    await Deno.mkdir(`${files.path}/d${name}`);
    await Deno.writeTextFile(`${files.path}/d${name}/file`, name);
  }
  const base = new URL("http://127.0.0.1/");
  const fetchText = async ({ pathname, search }: URL) => {
    assertEquals(search, "");
    const response = await files.conn.get(pathname);
    assertEquals(response.status, 200, pathname);
    return await response.body!.text();
  };
  const page = await fetchText(base);
  const links = [...page.matchAll(/<a href="([^"]*)">([^<]*)<\/a>/g)];
  assertEquals(links.length, 2 * names.length);
  const tags = [...page.matchAll(/<([^ >]*)/g)].map(([, tag]) => tag);
  assertEquals(tags.filter((tag) => tag === "a" || tag === "/a").length, 2 * links.length);
  assertEquals(tags.filter((tag) => tag!.includes("script")), []);
  const contents = [];
  for (const [, href = "", text = ""] of links) {
    const url = new URL(href.replaceAll("&amp;", "&"), base);
    assertEquals(url.origin, base.origin);
    assert(!/[\p{Cc}\p{Cf}]/u.test(text), text);
    if (!href.endsWith("/")) contents.push(await fetchText(url));
    else {
      const subpage = await fetchText(url);
      assertStringIncludes(subpage, '<a href="../">../</a>');
      contents.push(await fetchText(new URL("file", url)));
    }
  }
  assertEquals(contents.sort(), [...names, ...names].sort());
  assert(page.includes("&lt;script>"));
});
