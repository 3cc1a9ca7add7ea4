/**
 * Looks for broken links in a directory of HTML pages.
 *
 * @module
 */

interface Page {
  readonly url: URL;
  readonly links: readonly string[];
  readonly anchors: ReadonlySet<string>;
}

/**
 * Finds the links of all pages below a directory that lead to no file, or to no anchor of a page. Links to the web are
 * not followed.
 *
 * @param dir The URL of the directory, with a slash at the end.
 * @returns `page: link` for each, sorted.
 */
export async function findBrokenLinks(dir: URL): Promise<string[]> {
  const pages = new Map<string, Page>();
  for await (const url of pagesBelow(dir)) {
    pages.set(pathOf(url), { url, ...readPage(await Deno.readTextFile(url)) });
  }
  if (pages.size === 0) throw new Error(`${dir.pathname} has no HTML page`);
  const broken: string[] = [];
  for (const [path, { url, links }] of pages) {
    for (const link of links) {
      const target = new URL(link, url);
      if (target.protocol !== "file:" || await leadsSomewhere(target, pages)) continue;
      broken.push(`${path.slice(pathOf(dir).length)}: ${link}`);
    }
  }
  return broken.toSorted();
}

async function* pagesBelow(dir: URL): AsyncGenerator<URL, void> {
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    if (isDirectory) yield* pagesBelow(new URL(`${encodeURIComponent(name)}/`, dir));
    else if (name.endsWith(".html")) yield new URL(encodeURIComponent(name), dir);
  }
}

function readPage(html: string): Omit<Page, "url"> {
  return {
    links: [...new Set(valuesOf(html, /<[^>]*\s(?:href|src)="([^"]*)"/g))],
    anchors: new Set(valuesOf(html, /<[^>]*\sid="([^"]*)"/g)),
  };
}

function valuesOf(html: string, attribute: RegExp): string[] {
  const values = [...html.matchAll(attribute)].map(([, value = ""]) => value);
  return values.map(decodeReferences);
}

const NAMED: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

/** Decodes the character references of an attribute, as far as `deno doc` writes them. */
function decodeReferences(value: string): string {
  return value.replaceAll(/&(?:#x([0-9a-f]+)|#([0-9]+)|(\w+));/gi, (all, hex, decimal, name) => {
    if (name !== undefined) return NAMED[name] ?? all;
    return String.fromCodePoint(hex !== undefined ? parseInt(hex, 16) : Number(decimal));
  });
}

async function leadsSomewhere(target: URL, pages: ReadonlyMap<string, Page>): Promise<boolean> {
  const anchor = decodeURIComponent(target.hash.slice(1));
  const path = pathOf(target).replace(/\/$/, "/index.html");
  const page = pages.get(path);
  if (page !== undefined) return anchor === "" || page.anchors.has(anchor);
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** One URL can be escaped in several ways; its path has one form. */
function pathOf(url: URL): string {
  return decodeURIComponent(url.pathname);
}
