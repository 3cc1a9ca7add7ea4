/**
 * The links of the documentation and of the doc comments are valid, and don't leave the package.
 */
import { assert, assertEquals } from "@std/assert";
import { makeLinksAbsolute, makeLinksRelative } from "@degu/internal/tools/links.ts";
import { listPublishedFiles, readPackages } from "@degu/internal/tools/packages.ts";
import { listFiles, listLibraryFiles, readProjectFile, ROOT } from "@degu/testing/tree.ts";

const packages = await readPackages();
const published = await Promise.all(packages.map(listPublishedFiles));
/** Matches the address of a file of a package version on the site of JSR. */
const ADDRESS = /^https:\/\/jsr\.io\/(@degu\/\w+)\/(\d[^/]*)\/([^#]+)(#.*)?$/;
const folders = await Promise.all(
  ["agent", "device", "docs", "files", "tests", "bench"].map((name) => listFiles(name, ".md")),
);
const pages = [...await listFiles("", ".md", false), ...folders.flat()];

Deno.test("every relative link of a page leads to an existing file and anchor", async () => {
  const brokenLinks: string[] = [];
  for (const page of pages) {
    for (const link of relativeLinksOf(await readProjectFile(page))) {
      if (!await leadsSomewhere(page, link)) brokenLinks.push(`${page}: ${link}`);
    }
  }
  assertEquals(brokenLinks, []);
});

Deno.test("the links between the pages of different packages have one form, and tools/links.ts converts it", async () => {
  const forms = new Set<string>();
  for (const files of published) {
    for (const page of files.filter((path) => path.endsWith(".md"))) {
      const text = await readProjectFile(page);
      const [relative, absolute] = [makeLinksRelative, makeLinksAbsolute]
        .map((rewrite) => rewrite(packages, page, text));
      if (relative === absolute) continue;
      forms.add(text === relative ? "relative" : text === absolute ? "absolute" : page);
      assertEquals(makeLinksRelative(packages, page, absolute!), relative);
      assertEquals(makeLinksAbsolute(packages, page, relative!), absolute);
    }
  }
  assertEquals(forms.size, 1, [...forms].join());
});

Deno.test("no other relative link of a published page leaves its package", async () => {
  const leaving: string[] = [];
  for (const files of published) {
    for (const page of files.filter((path) => path.endsWith(".md"))) {
      const text = makeLinksAbsolute(packages, page, await readProjectFile(page));
      for (const link of relativeLinksOf(text)) {
        if (!files.includes(pathOf(page, link))) leaving.push(`${page}: ${link}`);
      }
    }
  }
  assertEquals(leaving, []);
});

Deno.test("every JSR address names the current version, and an existing file and anchor", async () => {
  const brokenLinks: string[] = [];
  for (const page of [...pages, ...await listLibraryFiles()]) {
    const text = await readProjectFile(page);
    for (const [address] of text.matchAll(/https:\/\/jsr\.io\/@degu\/[^)\s"]+/g)) {
      const [, name, version, path, anchor = ""] = ADDRESS.exec(address) ?? [];
      if (name === undefined) continue;
      const i = packages.findIndex((each) => each.name === name && each.version === version);
      const file = `${packages[i]?.directory}${path}`;
      const isRight = published[i]?.includes(file) && await leadsSomewhere(file, anchor);
      if (!isRight) brokenLinks.push(`${page}: ${address}`);
    }
  }
  assertEquals(brokenLinks, []);
});

Deno.test("the links from doc comments to pages are absolute, because the reference is elsewhere", async () => {
  for (const path of await listLibraryFiles()) {
    const lines = (await readProjectFile(path)).split("\n").filter((line) =>
      /^\s*(\/\*)?\*/.test(line)
    );
    assertEquals(relativeLinksOf(lines.join("\n")), [], path);
  }
});

/** Returns the targets of the links in Markdown, except for web addresses. */
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

/** Returns the path that a link of a page leads to, relative to the project's directory. */
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
  return anchor === undefined || anchorsOf(await readProjectFile(path)).includes(anchor);
}

function anchorsOf(markdown: string): string[] {
  const counts = new Map<string, number>();
  return [...withoutCode(markdown).matchAll(/^#{1,6} +(.+?) *$/gm)].map(([, text = ""]) => {
    const anchor = text.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
    const count = counts.get(anchor) ?? 0;
    counts.set(anchor, count + 1);
    return count === 0 ? anchor : `${anchor}-${count}`;
  });
}
