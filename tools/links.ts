/**
 * Rewrites the links between the pages of different packages, in all pages.
 *
 * - `deno run --allow-read --allow-write=. tools/links.ts relative`: for the time before the first
 *   release, when the pages are read in the repository
 * - `deno run --allow-read --allow-write=. tools/links.ts absolute`: addresses of JSR, for the
 *   release, since a page of a package can't link to another package otherwise
 */

import { listPublishedFiles, type Package, readPackages } from "./packages.ts";
import { PROJECT_ROOT } from "./standard_library.ts";

/** Matches a link to a page of a package version on JSR, without its anchor. */
const ADDRESS = /\]\(https:\/\/jsr\.io\/(@degu\/\w+)\/\d[^/)]*\/([^)#\s]+\.md)/g;
/** Matches a relative link to a page, without its anchor. */
const RELATIVE = /\]\((?![a-z]+:)([^)#\s]+\.md)/g;

/** Returns the package whose directory has this page; the root has the pages of no other package. */
function packageOf(packages: readonly Package[], path: string): Package {
  const isIn = ({ directory }: Package) => directory !== "" && path.startsWith(directory);
  return packages.find(isIn) ?? packages.find(({ directory }) => directory === "")!;
}

/** Replaces the addresses of other packages in a page by relative links. */
export function makeLinksRelative(
  packages: readonly Package[],
  page: string,
  text: string,
): string {
  const depth = page.split("/").length - 1;
  return text.replaceAll(ADDRESS, (link, name, path) => {
    const target = packages.find((item) => item.name === name);
    return target === undefined ? link : `](${"../".repeat(depth)}${target.directory}${path}`;
  });
}

/** Replaces the relative links of a page that lead to another package by addresses of JSR. */
export function makeLinksAbsolute(
  packages: readonly Package[],
  page: string,
  text: string,
): string {
  return text.replaceAll(RELATIVE, (link, relativePath) => {
    const { pathname } = new URL(relativePath, `file:///${page}`);
    const path = pathname.slice(1);
    const target = packageOf(packages, path);
    if (target === packageOf(packages, page)) return link;
    const { name, version, directory } = target;
    return `](https://jsr.io/${name}/${version}/${path.slice(directory.length)}`;
  });
}

/** Lists the published pages of all packages, sorted. */
async function listPages(packages: readonly Package[]): Promise<string[]> {
  const files = await Promise.all(packages.map(listPublishedFiles));
  return files.flat().filter((path) => path.endsWith(".md")).toSorted();
}

if (import.meta.main) {
  const [form] = Deno.args;
  if (form !== "relative" && form !== "absolute") {
    throw new Error("the argument must be relative or absolute");
  }
  const rewrite = form === "relative" ? makeLinksRelative : makeLinksAbsolute;
  const packages = await readPackages();
  for (const page of await listPages(packages)) {
    const url = new URL(page, PROJECT_ROOT);
    const text = await Deno.readTextFile(url);
    const rewritten = rewrite(packages, page, text);
    if (rewritten !== text) await Deno.writeTextFile(url, rewritten);
  }
}
