/** The links of the documentation and of the doc comments are valid, and none leaves the package. */
import { assert, assertEquals } from "@std/assert";
import { filesUnder, libraryFiles, read, readConfiguration, ROOT } from "@degu/testing/tree.ts";

const { publish: { include } } = await readConfiguration();
const folders = await Promise.all(
  ["agent", "docs", "tests", "bench"].map((name) => filesUnder(name, ".md")),
);
const pages = [...await filesUnder("", ".md", false), ...folders.flat()];

Deno.test("every relative link of a page leads to an existing file and anchor", async () => {
  const broken: string[] = [];
  for (const page of pages) {
    for (const link of relativeLinksOf(await read(page))) {
      if (!await leadsSomewhere(page, link)) broken.push(`${page}: ${link}`);
    }
  }
  assertEquals(broken, []);
});

Deno.test("no link of a published page leaves the package", async () => {
  const leaving: string[] = [];
  for (const page of pages.filter(isPublished)) {
    for (const link of relativeLinksOf(await read(page))) {
      if (!isPublished(pathOf(page, link))) leaving.push(`${page}: ${link}`);
    }
  }
  assertEquals(leaving, []);
});

Deno.test("the links from doc comments to pages are absolute, because the reference is elsewhere", async () => {
  for (const path of await libraryFiles()) {
    const lines = (await read(path)).split("\n").filter((line) => /^\s*(\/\*)?\*/.test(line));
    assertEquals(relativeLinksOf(lines.join("\n")), [], path);
  }
});

/** The targets of the links in Markdown, without those of the web. */
function relativeLinksOf(markdown: string): string[] {
  const text = withoutCode(markdown);
  const forms =
    /\]\(\s*(?:<([^>]*)>|([^)\s]+))|\s(?:src|srcset|href)="([^"]*)"|^\[[^\]]+\]: +(\S+)/gm;
  const targets = [...text.matchAll(forms)].map((match) => match.slice(1).find(Boolean) ?? "");
  return targets.filter((target) => target !== "" && !/^[a-z]+:/.test(target));
}

function withoutCode(markdown: string): string {
  return markdown.replaceAll(/^( *)```.*?^\1```/gms, "").replaceAll(/`[^`\n]*`/g, (code) =>
    // Headings keep the text of their code.
    code.replaceAll(/[[\]]/g, ""));
}

/** Where a link of a page leads, from the project's directory. */
function pathOf(page: string, link: string): string {
  const { href } = new URL(link.replace(/#.*/s, ""), new URL(page, ROOT));
  assert(href.startsWith(ROOT.href), `${page}: ${link} is outside of the project`);
  const path = decodeURIComponent(href.slice(ROOT.href.length));
  return link.startsWith("#") ? page : path;
}

async function leadsSomewhere(page: string, link: string): Promise<boolean> {
  const path = pathOf(page, link);
  const [, anchor] = link.split("#");
  try {
    await Deno.stat(new URL(path, ROOT));
  } catch {
    return false;
  }
  return anchor === undefined || anchorsOf(await read(path)).includes(anchor);
}

function isPublished(path: string): boolean {
  return include.some((each) =>
    each === path || path.startsWith(`${each}/`) || (each === "*.ts" && /^[^/]+\.ts$/.test(path))
  );
}

function anchorsOf(markdown: string): string[] {
  const seen = new Map<string, number>();
  return [...withoutCode(markdown).matchAll(/^#{1,6} +(.+?) *$/gm)].map(([, text = ""]) => {
    const anchor = text.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
    const count = seen.get(anchor) ?? 0;
    seen.set(anchor, count + 1);
    return count === 0 ? anchor : `${anchor}-${count}`;
  });
}
