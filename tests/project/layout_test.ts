/**
 * Rules for the whole project: the imports that each folder may have, the content of modules, and
 * the links of the documentation and of the doc comments.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { listPublishedFiles, readPackages } from "@degu/internal/tools/packages.ts";
import { runOrThrow } from "@degu/testing/commands.ts";
import { listFiles, readProjectFile, ROOT } from "@degu/testing/project_files.ts";
import { makeLinksAbsolute, makeLinksRelative } from "@degu/internal/tools/links.ts";

interface ModuleGraph {
  readonly modules: readonly ModuleInfo[];
}

/** A module with its imports, types included. */
interface ModuleInfo {
  readonly specifier: string;
  readonly dependencies?: readonly {
    readonly specifier: string;
    readonly code?: { readonly specifier?: string };
    readonly type?: { readonly specifier?: string };
  }[];
}

async function listLibraryFiles(): Promise<string[]> {
  const paths = (await Promise.all((await readPackages()).map(listPublishedFiles))).flat();
  return paths.filter((path) => path.endsWith(".ts"));
}

/** Reads the lines of a module without comments. */
async function readCode(path: string): Promise<string> {
  const lines = (await readProjectFile(path)).split("\n");
  return lines.filter((line) => !/^\s*(\/\/|\/\*|\*)/.test(line)).join("\n");
}

/** Reads the graph of some modules and the modules that they load, by one run of `deno info`. */
async function readModuleGraph(paths: readonly string[]): Promise<ModuleGraph> {
  const imports = paths.map((path) => `import ${JSON.stringify(new URL(path, ROOT).href)};`);
  const source = `data:application/typescript,${encodeURIComponent(imports.join("\n"))}`;
  const json = await runOrThrow([Deno.execPath(), "info", "--json", "--no-npm", source], {
    cwd: ROOT,
  });
  const { modules }: ModuleGraph = JSON.parse(json);
  return { modules: modules.filter(({ specifier }) => specifier !== source) };
}

/** Returns the target of an import as a path in the project, or the specifier of a package. */
function resolveFromRoot(specifier: string, path: string): string {
  if (!specifier.startsWith(".")) return specifier;
  return new URL(specifier, new URL(path, ROOT)).href.slice(ROOT.href.length);
}

/** Reads the imports of each module of the library, types included. */
async function readLibraryImports(): Promise<Map<string, string[]>> {
  const paths = await listLibraryFiles();
  const { modules } = await readModuleGraph(paths);
  return new Map(modules.flatMap(({ specifier, dependencies = [] }) => {
    const path = specifier.slice(ROOT.href.length);
    if (!specifier.startsWith(ROOT.href) || !paths.includes(path)) return [];
    return [[path, dependencies.map((dependency) => resolveFromRoot(dependency.specifier, path))]];
  }));
}

const CONNECTED = "internal/ base/ net/ client.ts server.ts";
/** What device/ and files/ may import of the library, and not each other. */
const LIBRARY = `${CONNECTED} base.ts certificates.ts`;
/** What device/peers/ may import, and what imports it. */
const PEERS = `${LIBRARY} device/errors.ts device/identity/ device/peers/ node:`;
/** What agent/machine/ may import, and what imports it. */
const MACHINE = "@degu/ node: commander agent/failure.ts agent/version.ts " +
  "agent/terminal/ agent/words/ agent/machine/";

/** The parts of the library, and the prefixes of modules that each may import. */
const layers: readonly (readonly [modules: string, mayImport: string])[] = [
  ["internal/", "internal/ node:path"],
  ["base/*", "internal/ base/*"],
  ["base/wire/", "internal/ base/* base/wire/"],
  ["base/body/", "internal/ base/* base/wire/ base/body/"],
  ["base.ts base/app/", "internal/ base/"],
  ["net/protocol/", "internal/ base/ net/protocol/"],
  ["net/transport/", "internal/ base/ net/protocol/ net/transport/ node:"],
  ["net/tls/", "internal/ base/ net/transport/ net/tls/ node:"],
  ["net/client/", "internal/ base/ net/protocol/ net/transport/ net/client/"],
  ["net/server/", "internal/ base/ net/protocol/ net/transport/ net/server/"],
  ["program/", "internal/ base/ net/transport/ program/"],
  ["certificates.ts client.ts server.ts", "internal/ base/ net/ program/"],
  ["apps/", "internal/ base/ net/ apps/"],
  ["web/", "internal/ base/ net/ apps/ web/"],
  ["worker/", `${CONNECTED} apps/ worker/ node:`],
  ["mod.ts", `${CONNECTED} base.ts apps/ web/ worker/ program/`],
  ["misc/", `${CONNECTED} mod.ts worker/ misc/ node:`],
  ["misc.ts", "base/ misc/"],
  ["files/disk/", "internal/ files/disk/ node:buffer node:fs"],
  ["files/wire/", `${LIBRARY} files/disk/ files/wire/ node:`],
  [
    "files/errors.ts files/file_writer.ts files/kept_versions.ts files/leftovers.ts " +
    "files/listing.ts files/options.ts files/refusal.ts files/reserved.ts files/root.ts " +
    "files/small_files.ts files/transfer_error.ts",
    `${LIBRARY} files/* files/disk/ files/wire/ node:`,
  ],
  ["files/base.ts files/client.ts files/mod.ts", `${LIBRARY} files/`],
  ["files/serve/", `${LIBRARY} files/* files/disk/ files/wire/ files/serve/ node: mime`],
  ["files/transfer/", `${LIBRARY} files/* files/disk/ files/wire/ files/transfer/ node:`],
  ["files/tree/", `${LIBRARY} files/* files/disk/ files/wire/ files/transfer/ files/tree/ node:`],
  ["device/errors.ts", "base.ts"],
  ["device/identity/", `${LIBRARY} device/identity/ node:`],
  ["device/peers/", PEERS],
  ["device/serve/", `${PEERS} device/serve/`],
  ["device/pairing/", `${PEERS} device/pairing/`],
  [
    "device/device.ts device/mod.ts device/temp_devices.ts device/terminal.ts device/testing.ts",
    `${PEERS} misc.ts device/* device/serve/ device/pairing/`,
  ],
  [
    "device/discovery/",
    `${PEERS} device/device.ts device/pairing/ device/discovery/ multicast-dns`,
  ],
  ["agent/failure.ts agent/version.ts", "@degu/"],
  ["agent/terminal/", "@degu/ agent/failure.ts agent/terminal/"],
  ["agent/words/", "@degu/ node:path agent/failure.ts agent/terminal/ agent/words/"],
  ["agent/machine/", MACHINE],
  ["agent/peer/", `${MACHINE} agent/peer/`],
  ["agent/copy/", `${MACHINE} agent/peer/ agent/copy/ ignore`],
  ["agent/serve/", `${MACHINE} agent/peer/ agent/serve/`],
  ["agent/pair/", `${MACHINE} agent/pair/`],
  ["agent/command.ts", MACHINE],
  [
    "agent/commands/",
    `${MACHINE} agent/peer/ agent/copy/ agent/serve/ agent/pair/ agent/command.ts agent/commands/`,
  ],
  ["agent/main.ts agent/program.ts agent/command_line.ts", `${MACHINE} agent/`],
];

Deno.test("the top level has no symbolic links", async () => {
  const entries = await Array.fromAsync(Deno.readDir(ROOT));
  assertEquals(entries.filter(({ isSymlink }) => isSymlink), []);
});

Deno.test("the library exports the modules at the top level, and the main modules of devices and files, with some that load less or are for tests", async () => {
  const [library, ...others] = await readPackages();
  const top = (await listFiles("", ".ts", false)).map((path) =>
    [path === "mod.ts" ? "@degu/degu" : `@degu/degu/${path.slice(0, -3)}`, path] as const
  );
  assertEquals(
    library.entries,
    new Map([
      ...top,
      ["@degu/degu/device", "device/mod.ts"],
      ["@degu/degu/device/discovery", "device/discovery/mod.ts"],
      ["@degu/degu/device/terminal", "device/terminal.ts"],
      ["@degu/degu/device/testing", "device/testing.ts"],
      ["@degu/degu/files", "files/mod.ts"],
      ["@degu/degu/files/base", "files/base.ts"],
      ["@degu/degu/files/client", "files/client.ts"],
    ]),
  );
  assertEquals(others.map(({ entries }) => [...entries]), [[["@degu/agent", "agent/main.ts"]]]);
});

/** The pages that list the modules of a folder, and their maximal numbers of words for them. */
const overviews: readonly (readonly [folder: string, page: string, maxWords: number])[] = [
  ["agent", "agent/README.md", 600],
  ["base", "base/README.md", 300],
  ["device", "CONTRIBUTING.md", 300],
  ["files/disk", "files/disk/README.md", 300],
  ["files", "CONTRIBUTING.md", 350],
  ["internal", "internal/README.md", 300],
  ["net", "net/README.md", 550],
];

for (const [folder, path, maxWords] of overviews) {
  Deno.test(`${path} names each module of ${folder}/, with at most ${maxWords} words`, async () => {
    const text = await readProjectFile(path);
    const heading = `\n## The modules of \`${folder}/\`\n`;
    const page = path === "CONTRIBUTING.md" ? text.split(heading)[1]!.split("\n## ")[0]! : text;
    assert(page.split(/\s+/).length <= maxWords);
    const namedModules = [...page.matchAll(/`([\w/]+\.ts)`/g)].map(([, path]) =>
      `${folder}/${path}`
    );
    const isOwn = (path: string) => path.startsWith(`${folder}/`);
    // A command of the program has the name of its module.
    const modules = (await listLibraryFiles()).filter(isOwn)
      .filter((path) => !/^agent\/commands\//.test(path))
      .filter((path) => folder !== "files" || !path.startsWith("files/disk/"));
    assertEquals(modules.filter((path) => !namedModules.includes(path)), []);
    // The page names no other modules.
    const otherModules = namedModules.map((path) => path.slice(folder.length + 1))
      .filter((path) => !modules.includes(`${folder}/${path}`));
    assertEquals(otherModules, []);
    assertMatch(page, /^\*\*May import:\*\* /m);
  });
}

Deno.test("each folder imports only from the folders that its layer allows", async () => {
  for (const [path, targets] of await readLibraryImports()) {
    const ownLayers = layers.filter(([modules]) =>
      modules.split(" ").some((each) => isUnder(each, path))
    );
    assertEquals(ownLayers.length, 1, `${path} is in ${ownLayers.length} layers`);
    const mayImport = ownLayers[0]![1].split(" ");
    for (const target of targets) {
      assert(mayImport.some((prefix) => isUnder(prefix, target)), `${path} imports ${target}`);
    }
  }
});

Deno.test("the protocol has no socket, no timer and no promise, so that its tests need none", async () => {
  for (const path of await listFiles("net/protocol", ".ts")) {
    const code = (await readProjectFile(path)).replaceAll(/\/\*.*?\*\/|\/\/.*/gs, "");
    const found = code.match(
      /\b(?:async|await|Promise|Socket|Deno|performance|set(?:Timeout|Immediate|Interval))\b/g,
    );
    assertEquals(found, null, path);
  }
});

Deno.test("the library names no other package, except in links", async () => {
  const [library, ...others] = await readPackages();
  const names = others.map(({ name }) => `"${name}`);
  for (const path of await listPublishedFiles(library)) {
    if (!/\.(?:ts|md)$/.test(path)) continue;
    const text = await readProjectFile(path);
    const code = path.endsWith(".ts") ? text : codeBlocksOf(text);
    assertEquals(names.filter((name) => code.includes(name)), [], path);
  }
});

/** The folders of tests of all parts together, and of their helpers. */
const TESTS_OF_ALL = "crash/ examples/ fuzz/ long/examples/ long/integration/ long/project/ " +
  "programs/ project/ soak/ support/ types/ wine/";

Deno.test("the tests of HTTP import neither devices, files nor the program, and no helper that does", async () => {
  const isOther = (specifier = "") =>
    ["device/", "files/", "agent/"].some((directory) =>
      specifier.startsWith(`${ROOT}${directory}`)
    );
  const foldersOfAll = TESTS_OF_ALL.split(" ").map((folder) => `tests/${folder}`);
  const paths = (await listFiles("tests", ".ts"))
    .filter((path) => !foldersOfAll.some((folder) => path.startsWith(folder)));
  const { modules } = await readModuleGraph(paths);
  const imports = modules.filter(({ specifier }) => !isOther(specifier))
    .flatMap(({ specifier, dependencies = [] }) =>
      dependencies.filter(({ code, type }) => isOther((code ?? type)?.specifier))
        .map((dependency) => `${specifier} imports ${dependency.specifier}`)
    );
  assertEquals(imports, []);
});

Deno.test("no imports are circular, including types", async () => {
  assertEquals(findCircles(await readLibraryImports()), []);
});

Deno.test("base/ uses only types of Deno, except for a body that opens its file", async () => {
  for (const path of await listFiles("base", ".ts")) {
    const names = (await readCode(path)).matchAll(/(?<!")\bDeno\.(\w+)/g);
    const used = Array.from(names, ([, name]) => name!);
    const allowed = path === "base/body/body_reader.ts" ? ["FileInfo", "stat", "open"] : [];
    assertEquals(used.filter((name) => !["FsFile", ...allowed].includes(name)), [], path);
  }
});

Deno.test("sockets are opened only in net/ and misc/", async () => {
  for (const path of await listLibraryFiles()) {
    if (path.startsWith("net/") || path.startsWith("misc/")) continue;
    const socketCalls = (await readCode(path)).match(/\bDeno\.(connect|listen|startTls|serve)\w*/g);
    assertEquals(socketCalls, null, path);
  }
});

Deno.test("no module reads metadata as bigint, which ends the process for some times", async () => {
  for (const path of await listLibraryFiles()) {
    assert(!/\bbigint: true/.test(await readCode(path)), path);
  }
});

Deno.test("only the default logger prints", async () => {
  const printing = [];
  for (const path of await listLibraryFiles()) {
    if (/\bconsole\b/.test(await readCode(path))) printing.push(path);
  }
  assertEquals(printing, ["base/app/logger.ts"]);
});

/** The modules that search the messages of errors, and whose messages these are. */
const SEARCHED_MESSAGES = {
  "agent/words/explain.ts": "Deno",
  "internal/caught_errors.ts": "Deno and Node",
  "net/tls/errors.ts": "Node",
  "net/tls/pem.ts": "Deno",
  "net/transport/connection_errors.ts": "Deno",
};

Deno.test("only messages of Deno, Node and commander are searched, and no message is changed", async () => {
  const search =
    /\.(?:test|exec)\([^;]*?\.message\b|\.message\s*\.(?:includes|match|search|split|\w+With)\(/;
  const searching: string[] = [];
  for (const path of await listLibraryFiles()) {
    const code = await readCode(path);
    if (search.test(code)) searching.push(path);
    assert(!/(?<!\bthis)\.message\s*[+?]*=(?!=)/.test(code), path);
  }
  assertEquals(searching.toSorted(), Object.keys(SEARCHED_MESSAGES));
});

Deno.test("comments of the library have at most 100 columns", async () => {
  const wide: string[] = [];
  for (const path of await listLibraryFiles()) {
    const longLines = (await readProjectFile(path)).split("\n").filter((line) =>
      line.length > 100 && /^\s*(\/\/|\/?\*)|\s\/\/ /.test(line)
    );
    wide.push(...longLines.map((line) => `${path}: ${line}`));
  }
  assertEquals(wide, []);
});

Deno.test("the packages contain exactly the modules that their entries load or start", async () => {
  const entries = (await readPackages()).flatMap((each) => [...each.entries.values()]);
  const { modules } = await readModuleGraph(entries);
  const loaded = modules.flatMap(({ specifier }) =>
    specifier.startsWith(ROOT.href) ? [specifier.slice(ROOT.href.length)] : []
  );
  const packed = await listLibraryFiles();
  assertEquals(loaded.toSorted(), packed.toSorted());
});

/** Returns the TypeScript of a page. */
function codeBlocksOf(page: string): string {
  return Array.from(page.matchAll(/^ *```ts\n[^]*?^ *```$/gm), ([block]) => block).join("\n");
}

function findCircles(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const circles: string[] = [];
  const visited = new Set<string>();
  const visit = (path: string, way: readonly string[]): void => {
    const i = way.indexOf(path);
    if (i >= 0) circles.push([...way.slice(i), path].join(" -> "));
    if (i >= 0 || visited.has(path)) return;
    for (const target of imports.get(path) ?? []) visit(target, [...way, path]);
    visited.add(path);
  };
  for (const path of imports.keys()) visit(path, []);
  return circles;
}

/** Whether a path begins with a prefix; `dir/*` stands for the files directly in a directory. */
function isUnder(prefix: string, path: string): boolean {
  const dir = prefix.endsWith("/*") ? prefix.slice(0, -1) : prefix;
  return path.startsWith(dir) && (dir === prefix || !path.slice(dir.length).includes("/"));
}

const packages = await readPackages();
const published = await Promise.all(packages.map(listPublishedFiles));
/** Matches the address of a file of a package version on the site of JSR. */
const ADDRESS = /^https:\/\/jsr\.io\/(@degu\/\w+)\/(\d[^/]*)\/([^#]+)(#.*)?$/;
const folders = await Promise.all(
  ["agent", "device", "docs", "files", "tests", "bench"].map((name) => listFiles(name, ".md")),
);
const pages = [...await listFiles("", ".md", false), ...folders.flat()];

Deno.test("each package publishes the text of the license", async () => {
  const license = await readProjectFile("LICENSE");
  for (const [i, { directory, name }] of packages.entries()) {
    assert(published[i]!.includes(`${directory}LICENSE`), name);
    assertEquals(await readProjectFile(`${directory}LICENSE`), license);
  }
});

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
