/** Rules for the whole tree: which folder may import which, and what a module may contain. */
import { assert, assertEquals } from "@std/assert";
import {
  codeOf,
  filesUnder,
  graphOf,
  importedNames,
  libraryFiles,
  libraryImports,
  read,
  readConfiguration,
  ROOT,
} from "@degu/testing/tree.ts";

const CONNECTED = "internal/ base/ net/ client.ts server.ts";
/** What files/ and device/ may import of these: of TLS only what writes certificates. */
const LIBRARY =
  "internal/* internal/disk/ base/ net/* net/tls/certificate_writer.ts base.ts client.ts server.ts";

/** The parts of the library, and the beginnings of what each may import. */
const layers: readonly (readonly [modules: string, mayImport: string])[] = [
  ["internal/*", "internal/*"],
  ["internal/disk/", "internal/disk/ node:fs"],
  ["base/*", "internal/* base/*"],
  ["base/wire/", "internal/* base/* base/wire/"],
  ["base/body/", "internal/* base/* base/wire/ base/body/"],
  ["base.ts base/app/", "internal/* base/"],
  ["net/", "internal/* base/ net/ node:"],
  ["client.ts server.ts", "internal/* base/ net/"],
  ["apps/", `${CONNECTED} apps/`],
  ["web/", `${CONNECTED} apps/ web/`],
  ["mod.ts", `${CONNECTED} base.ts apps/ web/`],
  ["worker/", `${CONNECTED} worker/ node:`],
  ["files/*", `${LIBRARY} files/* node:`],
  ["files/serve/", `${LIBRARY} files/* files/serve/ node: mime`],
  ["files/transfer/", `${LIBRARY} files/* files/transfer/ node:`],
  ["files/tree/", `${LIBRARY} files/* files/transfer/ files/tree/ node:`],
  ["files.ts", `${CONNECTED} files/`],
  ["device/identity/", `${LIBRARY} device/identity/ node:`],
  ["device.ts device/*", `${LIBRARY} device/ node:`],
  ["misc/", `${CONNECTED} worker/ misc/ node:`],
  ["misc.ts", "base/ misc/ device/temp_devices.ts"],
  [
    "agent/",
    "mod.ts base.ts client.ts device.ts files.ts server.ts internal/facts.ts internal/disk/names.ts " +
    "net/thrown.ts files/reserved.ts files/transfer_error.ts files/transfer/client.ts files/transfer/download.ts " +
    "device/identity/private_files.ts device/errors.ts agent/ node: commander ignore multicast-dns uqr",
  ],
];

/** How many names of base/ and net/ each folder imports that no user of the package can import so. */
const deepImports = {
  "agent/": 3,
  "device/": 36,
  "files/": 49,
} as const;

Deno.test("exports lists exactly the modules at the top level, and the program", async () => {
  const { exports } = await readConfiguration();
  const { "./agent": agent, ...entries } = exports;
  assertEquals(agent, "./agent/main.ts");
  const top = (await filesUnder("", ".ts", false)).map((path) => `./${path}`);
  assertEquals(Object.values(entries).toSorted(), top.toSorted());
  for (const [name, path] of Object.entries(entries)) {
    assertEquals(path, name === "." ? "./mod.ts" : `${name}.ts`);
  }
});

Deno.test("imports go one way", async () => {
  for (const [path, targets] of await libraryImports()) {
    const own = layers.filter(([modules]) =>
      modules.split(" ").some((each) => isUnder(each, path))
    );
    assertEquals(own.length, 1, `${path} is in ${own.length} layers`);
    const mayImport = own[0]![1].split(" ");
    for (const target of targets) {
      assert(mayImport.some((prefix) => isUnder(prefix, target)), `${path} imports ${target}`);
    }
  }
});

Deno.test("agent/, device/ and files/ import so many names of base/ and net/, and not one more", async () => {
  const isDeep = (target: string) => /^(?:base|net)\//.test(target);
  const counted: Record<string, number> = {};
  const imports = [...await libraryImports()];
  for (const folder of Object.keys(deepImports)) {
    const names = new Set<string>();
    for (const [path, targets] of imports.filter(([path]) => path.startsWith(folder))) {
      const named = (await importedNames(path)).filter(([target]) => isDeep(target));
      // No form of an import is overlooked.
      assertEquals(
        new Set(named.map(([target]) => target)),
        new Set(targets.filter(isDeep)),
        path,
      );
      for (const [target, name] of named) names.add(`${name} of ${target}`);
    }
    counted[folder] = names.size;
  }
  assertEquals(counted, deepImports);
});

Deno.test("no module imports itself through others, including types", async () => {
  assertEquals(findCircles(await libraryImports()), []);
});

Deno.test("base/ uses nothing of Deno but types, and a body that opens its file", async () => {
  for (const path of await filesUnder("base", ".ts")) {
    const used = [...(await codeOf(path)).matchAll(/(?<!")\bDeno\.(\w+)/g)].map(([, name]) => name);
    const allowed = path === "base/body/file_source.ts"
      ? ["FsFile", "FileInfo", "stat", "open"]
      : ["FsFile"];
    assertEquals(used.filter((name) => !allowed.includes(name!)), [], path);
  }
});

Deno.test("sockets are opened only in net/ and misc/", async () => {
  for (const path of await libraryFiles()) {
    if (path.startsWith("net/") || path.startsWith("misc/")) continue;
    const opened = (await codeOf(path)).match(/\bDeno\.(connect|listen|startTls|serve)\w*/g);
    assertEquals(opened, null, path);
  }
});

Deno.test("nothing is printed except by the default logger", async () => {
  const printing = [];
  for (const path of await libraryFiles()) {
    if (/\bconsole\b/.test(await codeOf(path))) printing.push(path);
  }
  assertEquals(printing, ["net/logger.ts"]);
});

Deno.test("comments of the library end at 100 columns", async () => {
  const wide: string[] = [];
  for (const path of await libraryFiles()) {
    const found = (await read(path)).split("\n").filter((line) =>
      line.length > 100 && /^\s*(\/\/|\/?\*)|\s\/\/ /.test(line)
    );
    wide.push(...found.map((line) => `${path}: ${line}`));
  }
  assertEquals(wide, []);
});

Deno.test("the package contains exactly the modules that its public ones load or start", async () => {
  const { exports } = await readConfiguration();
  const { modules } = await graphOf(Object.values(exports));
  const loaded = modules.flatMap(({ specifier }) =>
    specifier.startsWith(ROOT.href) ? [specifier.slice(ROOT.href.length)] : []
  );
  const packed = await libraryFiles();
  assertEquals(loaded.toSorted(), packed.toSorted());
});

function findCircles(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const circles: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, way: readonly string[]): void => {
    const i = way.indexOf(path);
    if (i >= 0) circles.push([...way.slice(i), path].join(" -> "));
    if (i >= 0 || done.has(path)) return;
    for (const target of imports.get(path) ?? []) visit(target, [...way, path]);
    done.add(path);
  };
  for (const path of imports.keys()) visit(path, []);
  return circles;
}

/** Whether a path begins with a prefix; `dir/*` stands for the files of a directory itself. */
function isUnder(prefix: string, path: string): boolean {
  const dir = prefix.endsWith("/*") ? prefix.slice(0, -1) : prefix;
  return path.startsWith(dir) && (dir === prefix || !path.slice(dir.length).includes("/"));
}
