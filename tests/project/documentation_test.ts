/** What the documentation, the examples and the tasks refer to. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Client } from "@degu/degu/client";
import { filesUnder, libraryFiles, read, readConfiguration, ROOT } from "@degu/testing/tree.ts";

Deno.test("the offline import map has every name that deno.json has", async () => {
  const { exports, imports } = await readConfiguration();
  const path = "tests/support/offline/import_map.json";
  const map: Record<string, string> = JSON.parse(await read(path)).imports;
  for (const [name, target] of Object.entries(imports)) {
    const given = map[name] ?? "";
    if (target.startsWith("jsr:")) assertMatch(given, /^\.\/\w+\.ts$/, name);
    else if (target.startsWith("npm:")) assertEquals(given, target, name);
    else assertEquals(new URL(given, new URL(path, ROOT)), new URL(target, ROOT), name);
  }
  for (const [name, target] of Object.entries(exports)) {
    const url = new URL(map[name.replace(/^\./, "@degu/degu")] ?? "", new URL(path, ROOT));
    assertEquals(url.href, new URL(target, ROOT).href, name);
  }
});

Deno.test("the suite runs every code block of the documentation", async () => {
  const pages = ["README.md", ...await filesUnder("docs", ".md")];
  for (const path of [...pages, ...await libraryFiles()]) {
    const leftOut = (await read(path)).match(
      /^[ *]*```(ts|js|typescript|javascript)\b.*ignore.*$/m,
    );
    assertEquals(leftOut?.[0], undefined, path);
  }
});

Deno.test("the demo task runs the tutorial, then the devices, as their first lines say", async () => {
  const paths = ["examples/tutorial.ts", "examples/devices.ts"];
  const commands = await Promise.all(
    paths.map(async (path) => (await read(path)).split("\n")[0]?.replace("// ", "")),
  );
  assertEquals((await readConfiguration()).tasks["demo"]?.command, commands.join(" && "));
});

Deno.test("the page for users of Python Degu names its versions, their defaults, and what has no counterpart", async () => {
  const page = await read("docs/coming_from.md");
  const rows = [...page.matchAll(/^\|(.*)\|$/gm)].map(([, row = ""]) =>
    row.split("|").map((cell) => cell.trim())
  );
  const cellsOf = (first: string) => rows.find(([cell = ""]) => cell.startsWith(first)) ?? [];
  assertEquals(cellsOf("Python Degu 0.1"), [
    "Python Degu 0.18 and 0.19",
    "0.3 to 0.11, where they differ",
    "here",
  ]);
  assertMatch(
    cellsOf("`def app(session, request, api)`").at(-1)!,
    /^`\(request, session, api\) => …`/,
  );
  assertMatch(cellsOf("`TempServer(address, app, **options)`").at(-1)!, /TempServer\.start/);
  const { timeout } = new Client(["127.0.0.1", 1]);
  assertMatch(cellsOf("`timeout` of a client")[1]!, /^65 s .*0\.19/);
  assertMatch(cellsOf("`timeout` of a client")[2]!, new RegExp(`^${timeout} s `));
  for (const missing of ["`session.credentials`", "a listening socket that another program"]) {
    assertMatch(cellsOf(missing)[1]!, /^Deno can't /);
  }
});

Deno.test("the reference of each public module is linked from a page of docs/", async () => {
  const text = (await Promise.all((await filesUnder("docs", ".md")).map(read))).join("\n");
  for (const name of Object.keys((await readConfiguration()).exports)) {
    const url = `https://jsr.io/@degu/degu/doc${name.slice(1)}`;
    assert(text.includes(`(${url})`), url);
  }
});

Deno.test("each picture has a title and a description, and is on a page with alternative text", async () => {
  const pages = ["README.md", ...await filesUnder("docs", ".md")];
  const text = (await Promise.all(pages.map(read))).join("\n");
  for (const path of await filesUnder("docs/pictures", ".svg")) {
    const name = path.slice("docs/pictures/".length);
    const [, alternative = ""] = new RegExp(`!\\[([^\\]]*)\\]\\(\\S*${name}\\)`).exec(text) ?? [];
    assert(alternative.length > 60, `${name} is on no page, or has no alternative`);
    const svg = await read(path);
    assertMatch(svg, /<title id="title">[^<]+<\/title>/, path);
    assertMatch(svg, /<desc id="description">[^<]+<\/desc>/, path);
  }
});

Deno.test("the picture of the layers names every public module", async () => {
  const svg = await read("docs/pictures/layers.svg");
  for (const name of Object.keys((await readConfiguration()).exports)) {
    const shown = name === "." ? "@degu/degu" : name.slice(1);
    assert(svg.includes(shown), `${shown} is missing`);
  }
});
