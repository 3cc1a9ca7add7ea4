/**
 * Rules for the whole project: the imports that each folder may have, and the content of modules.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { readPackages } from "@degu/internal/tools/packages.ts";
import {
  listFiles,
  listLibraryFiles,
  readCode,
  readImportedNames,
  readLibraryImports,
  readModuleGraph,
  readProjectFile,
  ROOT,
} from "@degu/testing/tree.ts";

const CONNECTED = "internal/ base/ net/ client.ts server.ts";
/** The folders that files/ and device/ may both import. They don't import each other. */
const LIBRARY = "internal/ disk/ base/ net/* base.ts certificates.ts client.ts server.ts";

/** The parts of the library, and the prefixes of modules that each may import. */
const layers: readonly (readonly [modules: string, mayImport: string])[] = [
  ["internal/", "internal/"],
  ["disk/", "internal/ disk/ node:fs node:path"],
  ["base/*", "internal/ base/*"],
  ["base/wire/", "internal/ base/* base/wire/"],
  ["base/body/", "internal/ base/* base/wire/ base/body/"],
  ["base.ts base/app/", "internal/ base/"],
  ["net/", "internal/ base/ net/ node:"],
  ["certificates.ts client.ts server.ts", "internal/ base/ net/"],
  ["apps/", `${CONNECTED} apps/`],
  ["web/", `${CONNECTED} apps/ web/`],
  ["mod.ts", `${CONNECTED} base.ts apps/ web/`],
  ["worker/", `${CONNECTED} worker/ node:`],
  ["files/*", `${LIBRARY} files/* node:`],
  ["files/serve/", `${LIBRARY} files/* files/serve/ node: mime`],
  ["files/transfer/", `${LIBRARY} files/* files/transfer/ node:`],
  ["files/tree/", `${LIBRARY} files/* files/transfer/ files/tree/ node:`],
  ["files.ts", `${CONNECTED} disk/ files/`],
  ["device/identity/", `${LIBRARY} device/identity/ node:`],
  ["device.ts device/*", `${LIBRARY} misc.ts device/ node:`],
  ["misc/", `${CONNECTED} disk/ worker/ misc/ node:`],
  ["misc.ts", "base/ misc/"],
  ["agent/", "agent/ @degu/degu node: commander ignore multicast-dns"],
];

/**
 * The number of names of each group of folders that device/ and files/ import, and that users of the
 * package can't import. `checks.ts` and `quote.ts` are the vocabulary of the whole library.
 */
const deepImports = {
  "internal/": 29,
  "disk/": 71,
} as const;

Deno.test("the top level has no symbolic links", async () => {
  const entries = await Array.fromAsync(Deno.readDir(ROOT));
  assertEquals(entries.filter(({ isSymlink }) => isSymlink), []);
});

Deno.test("the library exports exactly the modules at the top level, and the program its main module", async () => {
  const [library, agent] = await readPackages();
  assertEquals([...agent.entries], [["@degu/agent", "agent/main.ts"]]);
  const top = await listFiles("", ".ts", false);
  assertEquals([...library.entries.values()].toSorted(), top.toSorted());
  for (const [name, path] of library.entries) {
    assertEquals(path, name === "@degu/degu" ? "mod.ts" : `${name.slice("@degu/degu/".length)}.ts`);
  }
});

/** The folders with a README.md, and its maximal number of lines. */
const pages = { agent: 70, device: 40, disk: 40, files: 40, internal: 40 };

for (const [folder, maxLines] of Object.entries(pages)) {
  Deno.test(`${folder}/README.md has at most ${maxLines} lines, and names each module of the folder`, async () => {
    const page = await readProjectFile(`${folder}/README.md`);
    assert(page.split("\n").length <= maxLines);
    const namedModules = [...page.matchAll(/`([\w/]+\.ts)`/g)].map(([, path]) =>
      `${folder}/${path}`
    );
    const isOwn = (path: string) => path.startsWith(`${folder}/`);
    // A command of the program has the name of its module.
    const modules = (await listLibraryFiles()).filter(isOwn)
      .filter((path) => !path.startsWith("agent/commands/"));
    assertEquals(modules.filter((path) => !namedModules.includes(path)), []);
    // The page names no other modules than those of the top level.
    const otherModules = namedModules.map((path) => path.slice(folder.length + 1))
      .filter((path) => !modules.includes(`${folder}/${path}`));
    const entries = ["base.ts", "certificates.ts", "client.ts", "server.ts", `${folder}.ts`];
    assertEquals(otherModules.filter((path) => !entries.includes(path)), []);
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

Deno.test("device/ and files/ import only the counted number of internal names", async () => {
  const isDeep = (target: string) => /^(?:base|net|internal|disk)\//.test(target);
  const counted: Record<string, number> = {};
  const imports = [...await readLibraryImports()];
  const names = new Set<string>();
  for (const [path, targets] of imports.filter(([path]) => /^(?:device|files)\//.test(path))) {
    const importedNames = (await readImportedNames(path)).filter(([target]) => isDeep(target));
    // The parser must not overlook any form of import.
    const parsedTargets = new Set(importedNames.map(([target]) => target));
    assertEquals(parsedTargets, new Set(targets.filter(isDeep)), path);
    for (const [target, name] of importedNames) {
      if (!/^internal\/(?:checks|quote)\.ts$/.test(target)) names.add(`${target} ${name}`);
    }
  }
  for (const folders of Object.keys(deepImports)) {
    counted[folders] = [...names].filter((name) =>
      folders.split(" ").some((folder) => name.startsWith(folder))
    ).length;
  }
  assertEquals(counted, deepImports);
});

/**
 * The names of base/ and net/ that the folders above them import, and that users of the package
 * can't import. Remove names from this list; don't add any: a stranger could not write such a
 * folder. Only `ChunkedValidator` has a state.
 */
const seam = [
  "base/address.ts formatCheckedAddress",
  "base/app/app.ts readApp",
  "base/wire/chunk.ts ChunkedValidator",
  "base/wire/uri.ts checkUri",
  "net/deno_version.ts checkDenoVersion",
  "net/logger.ts makeSafeLogger",
];

Deno.test("device/, files/, disk/ and agent/ import only the listed names of base/ and net/", async () => {
  const names = new Set<string>();
  for (const path of (await readLibraryImports()).keys()) {
    if (!/^(?:device|files|disk|agent)\//.test(path)) continue;
    for (const [target, name] of await readImportedNames(path)) {
      if (/^(?:base|net)\//.test(target)) names.add(`${target} ${name}`);
    }
  }
  assertEquals([...names].toSorted(), seam);
});

Deno.test("no imports are circular, including types", async () => {
  assertEquals(findCircles(await readLibraryImports()), []);
});

Deno.test("base/ uses only types of Deno, except for a body that opens its file", async () => {
  for (const path of await listFiles("base", ".ts")) {
    const names = (await readCode(path)).matchAll(/(?<!")\bDeno\.(\w+)/g);
    const used = Array.from(names, ([, name]) => name!);
    const allowed = path === "base/body/body_source.ts" ? ["FileInfo", "stat", "open"] : [];
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
  assertEquals(printing, ["net/logger.ts"]);
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
