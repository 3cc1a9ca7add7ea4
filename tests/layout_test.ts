/** What holds for the whole tree: which folder may import which, and what the documentation names. */
import { assert, assertEquals, assertMatch } from "@std/assert";

const ROOT = new URL("../", import.meta.url);

interface Configuration {
  readonly exports: Record<string, string>;
  readonly imports: Record<string, string>;
  readonly publish: { readonly include: readonly string[] };
  readonly tasks: Record<string, { readonly command: string }>;
}

/** What of `deno info --json` is used here. */
interface ModuleGraph {
  readonly modules: readonly {
    readonly specifier: string;
    readonly dependencies?: readonly {
      readonly specifier: string;
      readonly code?: { readonly specifier?: string };
    }[];
  }[];
}

Deno.test("exports names every module at the top and nothing else", async () => {
  const { exports } = await readConfiguration();
  const top = (await filesUnder("", ".ts", false)).map((path) => `./${path}`);
  assertEquals(Object.values(exports).toSorted(), top.toSorted());
  for (const [name, path] of Object.entries(exports)) {
    assertEquals(path, name === "." ? "./mod.ts" : `${name}.ts`);
  }
});

Deno.test("imports go one way", async () => {
  for (const { paths, mayImport } of await layers()) {
    for (const path of paths) {
      for (const specifier of await importsOf(path)) {
        const target = specifier.startsWith(".") ? relativeToRoot(specifier, path) : specifier;
        assert(
          mayImport.some((prefix) => target.startsWith(prefix)),
          `${path} imports ${specifier}`,
        );
      }
    }
  }
});

Deno.test("base/ takes nothing of Deno but types", async () => {
  for (const path of await filesUnder("base", ".ts")) {
    const used = [...(await codeOf(path)).matchAll(/(?<!")\bDeno\.(\w+)/g)].map(([, name]) => name);
    assertEquals(used.filter((name) => name !== "FsFile"), [], path);
  }
});

Deno.test("sockets are opened in net/ and misc/ alone", async () => {
  for (const path of await libraryFiles()) {
    if (path.startsWith("net/") || path.startsWith("misc/")) continue;
    const opened = (await codeOf(path)).match(/\bDeno\.(connect|listen|startTls|serve)\w*/g);
    assertEquals(opened, null, path);
  }
});

Deno.test("nothing is printed but by the default logger and for a failing worker", async () => {
  const printing = [];
  for (const path of await libraryFiles()) {
    if (/\bconsole\b/.test(await codeOf(path))) printing.push(path);
  }
  assertEquals(printing, ["misc/temp_server.ts", "net/standard_logger.ts"]);
});

Deno.test("mod.ts loads this project and nothing else", async () => {
  const { modules } = await graphOf("mod.ts");
  const loaded = modules.flatMap(({ dependencies = [] }) =>
    dependencies.flatMap(({ code }) => code?.specifier ?? [])
  );
  const strangers = loaded.filter((url) => !url.startsWith(ROOT.href) && !url.startsWith("node:"));
  assertEquals(strangers, []);
  assert(modules.length > 10, "the graph of mod.ts was not read");
});

Deno.test("the package holds just the modules that its public ones load or start", async () => {
  const { exports } = await readConfiguration();
  const loaded = new Set<string>();
  for (const entry of Object.values(exports)) {
    for (const { specifier } of (await graphOf(entry)).modules) {
      if (specifier.startsWith(ROOT.href)) loaded.add(specifier.slice(ROOT.href.length));
    }
  }
  const packed = await libraryFiles();
  assertEquals([...loaded].filter((path) => !packed.includes(path)), []);
  const started = ["misc/temp_server_worker.ts"]; // by its URL
  assertEquals(packed.filter((path) => !loaded.has(path) && !started.includes(path)), []);
});

Deno.test("the offline import map has every name that deno.json has", async () => {
  const { exports, imports } = await readConfiguration();
  const path = "tests/support/offline/import_map.json";
  const map: Record<string, string> = JSON.parse(await read(path)).imports;
  for (const [name, target] of Object.entries(imports)) {
    if (target.startsWith("jsr:")) assertMatch(map[name] ?? "", /^\.\/\w+\.ts$/, name);
    else assertEquals(map[name], target, name);
  }
  for (const [name, target] of Object.entries(exports)) {
    const url = new URL(map[name.replace(/^\./, "@degu/degu")] ?? "", new URL(path, ROOT));
    assertEquals(url.href, new URL(target, ROOT).href, name);
  }
});

Deno.test("every relative link in the documentation leads somewhere", async () => {
  const pages = [...await filesUnder("", ".md", false), ...await filesUnder("docs", ".md")];
  for (const page of pages) {
    const text = (await read(page)).replaceAll(/^( *)```.*?^\1```/gms, "");
    for (const [, target = ""] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const url = new URL(target, new URL(page, ROOT));
      const anchor = url.hash.slice(1);
      url.hash = "";
      assert(url.href.startsWith(ROOT.href), `${page}: ${target} is outside of the project`);
      assert(await exists(url), `${page}: ${target} does not exist`);
      if (anchor === "") continue;
      assert(anchorsOf(await Deno.readTextFile(url)).includes(anchor), `${page}: ${target}`);
    }
  }
});

Deno.test("no code block of the documentation is left out of the suite", async () => {
  const pages = ["README.md", ...await filesUnder("docs", ".md")];
  for (const path of [...pages, ...await libraryFiles()]) {
    const leftOut = (await read(path)).match(
      /^[ *]*```(ts|js|typescript|javascript)\b.*ignore.*$/m,
    );
    assertEquals(leftOut?.[0], undefined, path);
  }
});

Deno.test("every example names its permissions in its first line", async () => {
  const paths = await filesUnder("examples", ".ts");
  const texts = await Promise.all(paths.map(read));
  for (const [i, path] of paths.entries()) {
    const name = path.slice("examples/".length);
    const isPart = texts.some((text, other) => other !== i && text.includes(`"./${name}"`));
    if (isPart) continue;
    const [firstLine = ""] = (texts[i] ?? "").split("\n");
    assertMatch(firstLine, /^\/\/ deno run /, path);
    assert(firstLine.endsWith(` ${path}`), `${path}: its first line must end with its path`);
    assert(!/ (-A|--allow-all)\b/.test(firstLine), `${path} takes every permission`);
  }
});

Deno.test("the demo task runs the tutorial as its first line says", async () => {
  const [firstLine] = (await read("examples/tutorial.ts")).split("\n");
  assertEquals(firstLine, `// ${(await readConfiguration()).tasks["demo"]?.command}`);
});

/** The parts of the library, with the beginnings of what each may import. */
async function layers(): Promise<{ paths: string[]; mayImport: string[] }[]> {
  const connected = ["base/", "net/", "rgi/", "client.ts", "server.ts"];
  return [
    { paths: await part("base"), mayImport: ["base/"] },
    { paths: await part("rgi"), mayImport: ["base/", "rgi/"] },
    { paths: await filesUnder("net", ".ts"), mayImport: ["base/", "net/", "node:"] },
    { paths: ["client.ts", "server.ts"], mayImport: ["base/", "net/"] },
    { paths: await part("applib"), mayImport: [...connected, "applib/"] },
    { paths: await part("files"), mayImport: [...connected, "files/", "node:", "npm:mime"] },
    { paths: await part("transfer"), mayImport: [...connected, "files/", "transfer/", "node:"] },
    { paths: await part("web"), mayImport: [...connected, "web/"] },
    {
      paths: await part("pki"),
      mayImport: ["base/", "net/", "pki/", "node:", "npm:@peculiar/x509"],
    },
    { paths: await part("misc"), mayImport: [...connected, "pki/", "misc/", "node:"] },
  ];
}

/** The paths of a public module and of the folder behind it. */
async function part(name: string): Promise<string[]> {
  return [`${name}.ts`, ...await filesUnder(name, ".ts")];
}

/** The paths of the modules that the package holds. */
async function libraryFiles(): Promise<string[]> {
  const { publish } = await readConfiguration();
  const folders = publish.include.filter((path) => !/^docs$|\.|^LICENSE$/.test(path));
  const inFolders = await Promise.all(folders.map((dir) => filesUnder(dir, ".ts")));
  return [...inFolders.flat(), ...await filesUnder("", ".ts", false)].toSorted();
}

function read(path: string): Promise<string> {
  return Deno.readTextFile(new URL(path, ROOT));
}

async function readConfiguration(): Promise<Configuration> {
  return JSON.parse(await read("deno.json"));
}

async function exists(url: URL): Promise<boolean> {
  try {
    await Deno.stat(url);
    return true;
  } catch {
    return false;
  }
}

/** The paths, relative to the project, of the files in a directory. */
async function filesUnder(dir: string, extension: string, deep = true): Promise<string[]> {
  const paths: string[] = [];
  for await (const entry of Deno.readDir(new URL(dir === "" ? "./" : `${dir}/`, ROOT))) {
    const path = dir === "" ? entry.name : `${dir}/${entry.name}`;
    if (entry.isFile && path.endsWith(extension)) paths.push(path);
    if (entry.isDirectory && deep) paths.push(...await filesUnder(path, extension));
  }
  return paths.toSorted();
}

/** The lines of a module that are not a comment. */
async function codeOf(path: string): Promise<string> {
  const lines = (await read(path)).split("\n");
  return lines.filter((line) => !/^\s*(\/\/|\/\*|\*)/.test(line)).join("\n");
}

/** What a module imports, types included, as it stands in the file. */
async function importsOf(path: string): Promise<string[]> {
  const module = new URL(path, ROOT).href;
  const { modules } = await graphOf(path);
  const { dependencies = [] } = modules.find(({ specifier }) => specifier === module) ?? {};
  return dependencies.map(({ specifier }) => specifier);
}

/** Where an import of a module leads to, as a path from the project's directory. */
function relativeToRoot(specifier: string, path: string): string {
  return new URL(specifier, new URL(path, ROOT)).href.slice(ROOT.href.length);
}

async function graphOf(path: string): Promise<ModuleGraph> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", "--no-npm", path],
    cwd: ROOT,
    stdin: "null",
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** The anchors of a page's headings, as the usual renderers of Markdown make them. */
function anchorsOf(markdown: string): string[] {
  const headings = markdown.matchAll(/^#{1,6} +(.+?) *$/gm);
  return [...headings].map(([, text = ""]) =>
    text.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
  );
}
