/** The modules that a command line of the program loads, besides those that it imports lazily. */
import { importMapFlags } from "@degu/testing/programs.ts";
import { runOrThrow } from "@degu/testing/commands.ts";
import { assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url).href;

interface ModuleInfo {
  readonly specifier: string;
  readonly dependencies?: readonly {
    readonly code?: { readonly specifier?: string };
    readonly isDynamic?: boolean;
  }[];
}

const command = [Deno.execPath(), "info", "--json", ...importMapFlags(), `${ROOT}agent/main.ts`];
const info: { readonly modules: readonly ModuleInfo[] } = JSON.parse(await runOrThrow(command));
const modules = new Map(info.modules.map((module) => [module.specifier, module]));

/** Returns the paths of the modules of this repository that are loaded with these modules. */
function findLoaded(...paths: readonly string[]): string[] {
  const loaded = new Set(paths.map((path) => ROOT + path));
  for (const specifier of loaded) {
    for (const { code, isDynamic } of modules.get(specifier)?.dependencies ?? []) {
      if (isDynamic !== true && code?.specifier !== undefined) loaded.add(code.specifier);
    }
  }
  const ownModules = [...loaded].filter((specifier) => specifier.startsWith(ROOT));
  return ownModules.map((specifier) => specifier.slice(ROOT.length));
}

Deno.test("degu --version loads no module of the library", () => {
  const isLibrary = (path: string) => !path.startsWith("agent/");
  assertEquals(findLoaded("agent/main.ts").filter(isLibrary), []);
});

Deno.test("a help, and a wrong command line, load no command, and no clients, servers or transfers", () => {
  const loaded = findLoaded("agent/program.ts");
  const ofFiles = /^files\/(?:base|errors|reserved_name)\.ts$/;
  const ofLibrary =
    /^(?:(?:base|internal)(?:\.ts|\/.*)|net\/(?:tls\/deno_version|client\/requester)\.ts)$/;
  const isOther = (path: string) =>
    ![/^agent\/[^/]*$/, ofFiles, ofLibrary].some((pattern) => pattern.test(path));
  assertEquals(loaded.filter(isOther), []);
});

Deno.test("degu id loads no transfers", () => {
  const loaded = findLoaded(
    ...["agent/program.ts", "agent/open_device.ts", "agent/commands/id.ts", "agent/explain.ts"],
  );
  const isTransfer = (path: string) => /^files\/(?!base|errors|reserved_name)/.test(path);
  assertEquals(loaded.filter(isTransfer), []);
});

Deno.test("commands of files load the modules of mDNS and of patterns only when they use them", () => {
  const loaded = findLoaded(
    ...["get", "ls", "ping", "put", "rm", "sync"].map((name) => `agent/commands/${name}.ts`),
  );
  assertEquals(loaded.filter((path) => /\/(?:mdns|exclude_pattern)\.ts$/.test(path)), []);
});

Deno.test("commands of files load no app of files, and no routes, workers or fetch of the library", () => {
  const loaded = findLoaded(
    ...["get", "ls", "ping", "put", "rm", "sync"].map((name) => `agent/commands/${name}.ts`),
  );
  const isOther = (path: string) => /^(?:mod|(?:apps|worker|web|files\/serve)\/.*)\.ts$/.test(path);
  assertEquals(loaded.filter(isOther), []);
});

Deno.test("degu serve loads the modules of workers only with --threads", () => {
  const loaded = findLoaded("agent/commands/serve.ts");
  assertEquals(loaded.filter((path) => /^(?:mod|worker\/.*|agent\/area_.*)\.ts$/.test(path)), []);
});
