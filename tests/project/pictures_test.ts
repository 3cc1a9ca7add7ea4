/** The pictures of the documentation: each is the output of its program, is used, and has alternative text. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { Drawing } from "@degu/internal/tools/pictures/drawing.ts";
import { drawPictures } from "@degu/internal/tools/pictures.ts";
import { filesUnder, read } from "@degu/testing/tree.ts";

Deno.test("each picture equals the output of deno task pictures", async () => {
  const drawn = await drawPictures();
  const paths = Object.keys(drawn).map((name) => `docs/pictures/${name}`);
  assertEquals(await filesUnder("docs/pictures", ".svg"), paths);
  for (const [name, text] of Object.entries(drawn)) {
    assertEquals(await read(`docs/pictures/${name}`), text, `${name}: run deno task pictures`);
  }
});

Deno.test("each picture is on a page, with alternative text", async () => {
  const pages = ["README.md", ...await filesUnder("docs", ".md")];
  const text = (await Promise.all(pages.map(read))).join("\n");
  for (const path of await filesUnder("docs/pictures", ".svg")) {
    const name = path.slice("docs/pictures/".length);
    const [, alternative = ""] = new RegExp(`!\\[([^\\]]*)\\]\\(\\S*${name}\\)`).exec(text) ?? [];
    assert(alternative.length > 60, `${name} is on no page, or has no alternative`);
  }
});

Deno.test("a picture has a title, a description, and its text as text", () => {
  const drawing = new Drawing(300, 100, "A <title>", "In words & more");
  drawing.box({ x: 10, y: 10, width: 120, height: 60 }, "a box", ["of <text>"]);
  const svg = drawing.toString();
  assertStringIncludes(svg, '<title id="title">A &lt;title&gt;</title>');
  assertStringIncludes(svg, '<desc id="description">In words &amp; more</desc>');
  assertStringIncludes(svg, ">of &lt;text&gt;</text>");
});

Deno.test("boxes that overlap and text that does not fit are refused", () => {
  const drawing = new Drawing(300, 100, "", "");
  const area = { x: 10, y: 10, width: 100, height: 30 };
  drawing.box(area, "a box");
  const refused = [
    [() => drawing.box({ ...area, x: 109 }, "other"), '"other" overlaps with "a box"'],
    [() => drawing.box({ ...area, x: 120 }, "a very long title"), "is too wide for its box"],
    [() => drawing.box({ ...area, y: 60 }, "low", ["one", "two"]), "has too many lines"],
    [() => drawing.frame({ ...area, y: 60 }, "f", ["long line of text"]), "leaves its frame"],
    [() => drawing.frame({ ...area, y: 60 }, "f", ["low"]), "leaves its frame"],
    [() => drawing.text([250, 50], "out of it"), "leaves the picture"],
    [() => drawing.arrow([[0, 90], [50, 90]], "long label"), "is longer than its arrow"],
  ] as const;
  for (const [draw, message] of refused) assertThrows(draw, Error, message);
  drawing.box({ ...area, x: 110 }, "beside");
});
