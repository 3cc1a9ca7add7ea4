/** The search for broken links in the HTML of the reference. */
import { assertEquals, assertRejects } from "@std/assert";
import { toFileUrl } from "@std/path";
import { findBrokenLinks } from "@degu/internal/tools/html_links.ts";
import { tempDir } from "@degu/testing/directories.ts";

Deno.test("only links to a page, an anchor or a file that doesn't exist are found", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(`${dir.path}/~`);
  await Deno.writeTextFile(`${dir.path}/style.css`, "");
  await Deno.writeTextFile(`${dir.path}/~/a&b.html`, '<p id="there"><a href="../">up</a></p>');
  const links = [
    "style.css",
    "./~/a&amp;b.html#there",
    ".&#x2F;&#126;/a&amp;b.html",
    "%7E/a%26b.html",
    "#here",
    "https://deno.com/none",
    "none.css",
    "~/",
    "~/a&amp;b.html#none",
    "#none",
  ];
  const html = links.map((link) => `<a class="x" href="${link}">${link}</a>`).join("\n");
  await Deno.writeTextFile(`${dir.path}/index.html`, `<h1 id="here">x</h1>${html}`);
  assertEquals(await findBrokenLinks(toFileUrl(`${dir.path}/`)), [
    "index.html: #none",
    "index.html: none.css",
    "index.html: ~/",
    "index.html: ~/a&b.html#none",
  ]);
});

Deno.test("a directory without pages fails the check", async () => {
  await using dir = await tempDir();
  await assertRejects(() => findBrokenLinks(toFileUrl(`${dir.path}/`)), Error, "has no HTML page");
});
