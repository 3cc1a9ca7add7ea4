/**
 * Looks for broken links in a directory of HTML pages.
 *
 * @module
 */

/**
 * Finds the links of all pages below a directory that lead to no file, or to no anchor of a page. Links to the web are
 * not followed.
 *
 * @param dir The URL of the directory, with a slash at the end.
 * @returns `page: link` for each, sorted.
 */
export async function findBrokenLinks(dir: URL): Promise<string[]> {
  const paths = new Set<string>();
  const pages = new Map<string, { links: Set<string>; anchors: Set<string> }>();
  const visit = async (dir: string) => {
    for await (const { name, isDirectory } of Deno.readDir(dir)) {
      const path = dir + name;
      paths.add(isDirectory ? `${path}/` : path);
      if (isDirectory) await visit(`${path}/`);
      else if (name.endsWith(".html")) pages.set(path, readPage(await Deno.readTextFile(path)));
    }
  };
  const root = pathOf(dir);
  await visit(root);
  if (pages.size === 0) throw new Error(`${root} has no HTML page`);
  const leadsSomewhere = (target: URL) => {
    const path = pathOf(target).replace(/\/$/, "/index.html");
    const anchor = decodeURIComponent(target.hash.slice(1));
    return paths.has(path) && (anchor === "" || pages.get(path)?.anchors.has(anchor));
  };
  return [...pages].flatMap(([path, { links }]) => {
    const base = new URL(path.split("/").map(encodeURIComponent).join("/"), dir);
    return [...links].flatMap((link) => {
      const target = new URL(link, base);
      if (target.protocol !== "file:" || leadsSomewhere(target)) return [];
      return `${path.slice(root.length)}: ${link}`;
    });
  }).toSorted();
}

function readPage(html: string) {
  const values = (attribute: RegExp) =>
    new Set(Array.from(html.matchAll(attribute), ([, value = ""]) => decodeReferences(value)));
  return {
    links: values(/<[^>]*\s(?:href|src)="([^"]*)"/g),
    anchors: values(/<[^>]*\sid="([^"]*)"/g),
  };
}

const NAMED: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

/** Decodes the character references of an attribute, as far as `deno doc` writes them. */
function decodeReferences(value: string): string {
  return value.replaceAll(/&(?:#x([0-9a-f]+)|#([0-9]+)|(\w+));/gi, (all, hex, decimal, name) => {
    if (name !== undefined) return NAMED[name] ?? all;
    return String.fromCodePoint(hex !== undefined ? parseInt(hex, 16) : Number(decimal));
  });
}

/** One URL can be escaped in several ways; its path has one form. */
function pathOf(url: URL): string {
  return decodeURIComponent(url.pathname);
}
