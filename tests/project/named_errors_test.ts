/** The errors that doc comments and pages name, compared with the errors that the code makes. */
import { assertEquals } from "@std/assert";
import { listPublishedFiles, readEntries, readPackages } from "@degu/internal/tools/packages.ts";
import { readProjectFile } from "@degu/testing/project_files.ts";

const entries = await readEntries();
const paths = (await Promise.all((await readPackages()).map(listPublishedFiles))).flat();
/** The comments of each module and the text of each page, without line breaks. */
const docs = new Map<string, string>();
/** The code of each module. */
const modules = new Map<string, string>();
for (const path of paths.filter((path) => /\.(?:ts|md)$/.test(path))) {
  const text = await readProjectFile(path);
  const comments = (text.match(/\/\*\*[^]*?\*\//g) ?? []).join("\n").replaceAll(/^\s*\*/gm, "");
  docs.set(path, (path.endsWith(".md") ? text : comments).replaceAll(/\s+/g, " "));
  if (path.endsWith(".ts")) modules.set(path, text.replaceAll(/\/\*\*[^]*?\*\//g, ""));
}
const code = [...modules.values()].join("\n");
/** The classes of the packages, each with its base class. */
const bases = new Map(
  Array.from(code.matchAll(/\bclass (\w+) extends (\w+)/g), ([, name, base]) => [name!, base!]),
);

/** Returns a module and the modules that it loads. */
function modulesFrom(path: string, found = new Set<string>()): Set<string> {
  if (found.has(path)) return found;
  found.add(path);
  for (const [, specifier = ""] of modules.get(path)!.matchAll(/\b(?:from|import) "([^"]+)";/g)) {
    const { pathname } = new URL(specifier, `file:///${path}`);
    const target = entries.get(specifier) ?? pathname.slice(1);
    if (modules.has(target)) modulesFrom(target, found);
  }
  return found;
}

/** Whether a module, or a module that it loads, makes an error of a class or of its subclasses. */
function makesError(path: string, name: string): boolean {
  const names = [name, ...[...bases].filter(([, base]) => base === name).map(([name]) => name)];
  const construction = new RegExp(`\\bnew (?:${names.join("|")})\\(`);
  return [...modulesFrom(path)].some((each) => construction.test(modules.get(each)!));
}

/** Returns the codes of a class: those of its type, and those that the code gives to its errors. */
function codesOf(name: string): string[] {
  const type = new RegExp(`\\btype ${name}Code =([^;]*);`).exec(code)?.[1] ?? "";
  const constructions = code.match(new RegExp(`\\bnew ${name}\\([^;]*;`, "g")) ?? [];
  return [type, ...constructions].join().match(/(?<=")[A-Z][A-Z_]+(?=")/g) ?? [];
}

Deno.test("an error behind @throws exists, and the module, or one that it loads, makes such errors", () => {
  const wrong: string[] = [];
  for (const path of modules.keys()) {
    for (const [, union = ""] of docs.get(path)!.matchAll(/@throws \{([^}]+)\}/g)) {
      for (const name of union.split(" | ")) {
        const isRight = bases.has(name)
          ? makesError(path, name)
          : name in globalThis || name.split("Deno.errors.")[1]! in Deno.errors;
        if (!isRight) wrong.push(`${path}: ${name}`);
      }
    }
  }
  assertEquals(wrong, []);
});

Deno.test("a comment on the cause of an error with codes names the code, and a class named with a code has it", () => {
  const wrong: string[] = [];
  const causes =
    /\b(?:causes?|throws?|(?:fails?|rejects?) with) an? (?:`|\{@linkcode )(\w+)[`}](?=(.{0,30}))/g;
  const pairs = /\b(\w+Error)[`}]*(?: |, | with the code | \()`"?([A-Z][A-Z_]{3,})\b/g;
  for (const [path, text] of docs) {
    for (const [sentence, name = "", next = ""] of text.matchAll(causes)) {
      const needsCode = path.endsWith(".ts") && code.includes(` type ${name}Code =`);
      if (needsCode && !/`"?[A-Z][A-Z_]{3,}/.test(next)) wrong.push(`${path}: ${sentence}`);
    }
    for (const [pair, name = "", errorCode = ""] of text.matchAll(pairs)) {
      // A program chooses the codes of its own DeguError.
      if (!bases.has(name) || name === "DeguError") continue;
      if (!codesOf(name).includes(errorCode)) wrong.push(`${path}: ${pair}`);
    }
  }
  assertEquals(wrong, []);
});
