/** The API reference: its completeness, and the targets of its links. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { readReference, type Reference } from "@degu/testing/reference.ts";
import { readConfiguration, ROOT } from "@degu/testing/tree.ts";

/** What can be called with arguments and throws nothing of its own. Each must be needed. */
const THROWS_NOTHING = [
  "Body.prototype.cancel",
  "BodyIter.prototype.cancel",
  "ChunkedBody.prototype.cancel",
  "ChunkedBodyIter.prototype.cancel",
  "ConnectionClosedError.constructor",
  "EmptyPreambleError.constructor",
  "ProtocolError.constructor",
  "Request.constructor",
  "Response.constructor",
  "Session.constructor",
  "Session.prototype.close",
  "TlsError.constructor",
  "TransferError.constructor",
  "isTransient",
];

const references = new Map<string, Reference>();
/** The names of the functions, classes and constants that each entry exports. */
const values = new Map<string, readonly string[]>();
for (const path of Object.values((await readConfiguration()).exports)) {
  references.set(path, await readReference(path));
  values.set(path, Object.keys(await import(new URL(path, ROOT).href)));
}

Deno.test("every public module has an example", () => {
  for (const [path, { text }] of references) assertMatch(text, /^```(ts|sh)$/m, path);
});

Deno.test("the comment of every public module links each function, class and constant of its own", () => {
  const repeated = ["./base.ts", "./client.ts", "./server.ts"].flatMap((path) => values.get(path)!);
  for (const [path, { text }] of references) {
    const own = new Set(values.get(path)).difference(new Set(path === "./mod.ts" ? repeated : []));
    // A link to a name that Deno has, too, would lead to that.
    const missing = [...own.difference(new Set(linksOf(text)))].filter((name) =>
      !(name in globalThis)
    );
    assertEquals(missing, [], path);
  }
});

Deno.test("everything public has a doc comment", () => {
  for (const { name, location, text, isReference } of everything()) {
    assert(text !== "" || isReference, `${location}: ${name}`);
  }
});

Deno.test("every parameter of a public function or method has its @param", () => {
  const wrong = new Set<string>();
  for (const { name, location, parameters, documentedParameters } of everything()) {
    if (parameters === null) continue;
    const needed = parameters.filter((parameter) => !parameter.startsWith("_"));
    if (needed.join() === documentedParameters.join()) continue;
    wrong.add(`${location}: ${name}(${needed}) has @param of ${documentedParameters}`);
  }
  assertEquals([...wrong], []);
});

Deno.test("every public function or method with parameters documents what it throws", () => {
  const silent = new Map<string, string>();
  for (const { name, location, parameters, hasThrows } of everything()) {
    if (parameters?.length && !hasThrows) silent.set(name, location);
  }
  assertEquals([...silent.keys()].toSorted(), THROWS_NOTHING, [...silent.values()].join(" "));
});

Deno.test("every link of a doc comment leads to a documented export", () => {
  const everywhere = new Set([...references.values()].flatMap(targetsOf));
  const wrong = new Set<string>();
  for (const [path, reference] of references) {
    for (const { location, text } of [{ location: path, text: reference.text }, ...reference.all]) {
      for (const target of linksOf(text)) {
        // On the page of all symbols a link leads to what Deno has of this name.
        if (everywhere.has(target) && !(target in globalThis)) continue;
        wrong.add(`${location}: {@linkcode ${target}}`);
      }
    }
  }
  assertEquals([...wrong], []);
});

Deno.test("no platform type has the same name as an export to which a link would lead", () => {
  for (const [path, { all, platformTypes }] of references) {
    const wrong = all.flatMap(({ name }) => platformTypes.has(name) ? name : []);
    assertEquals(wrong, [], `${path}: write globalThis.${wrong[0]}`);
  }
});

function* everything(): Generator<Reference["all"][number], void> {
  for (const { all } of references.values()) yield* all;
}

function targetsOf({ all }: Reference): string[] {
  return all.map(({ name }) => name);
}

/** The names that a comment links to; links to a URL are not meant. */
function linksOf(text: string): string[] {
  const links = text.matchAll(/\{@link(?:code|plain)?\s+([^\s|}]+)[^}]*\}/g);
  return [...links].flatMap(([, target = ""]) => /^https?:/.test(target) ? [] : target);
}
