/**
 * The public names of the packages and of the program are those of `public_names.txt`. With
 * `-- --record`, the file is updated.
 */
import { assert, assertEquals } from "@std/assert";
import { EXIT_CODES, Failure } from "@degu/internal/agent/failure.ts";
import { makeProgram } from "@degu/internal/agent/program.ts";
import { makeErrorObject } from "@degu/internal/agent/words/explain.ts";
import { readEntries } from "@degu/internal/tools/packages.ts";
import { runOrThrow } from "@degu/testing/commands.ts";
import { readProjectFile, ROOT } from "@degu/testing/project_files.ts";

const FILE = "tests/project/public_names.txt";
const RULE = 'A commit that changes public names has "!" in its subject, and a line in ' +
  'CHANGELOG.md. To record the names, run "deno task record".';

Deno.test("the public names, types, codes, commands and options are those of public_names.txt", async () => {
  const sections = [...await listExports(), ...await listStatedNames(), listCommands()];
  const lines = sections.flatMap((section) => [...section.toSorted(), ""]);
  if (Deno.args.includes("--record")) {
    return await Deno.writeTextFile(new URL(FILE, ROOT), lines.join("\n"));
  }
  const recordedLines = (await readProjectFile(FILE)).split("\n");
  const removed = Array.from(new Set(recordedLines).difference(new Set(lines)), (l) => `- ${l}`);
  const added = Array.from(new Set(lines).difference(new Set(recordedLines)), (l) => `+ ${l}`);
  const differences = [...removed, ...added].join("\n");
  assert(differences === "", `\n${differences}\n${RULE}`);
  assertEquals(lines, recordedLines, RULE);
});

// The packages.

/** A declaration, member, parameter or type of `deno doc`, which omits false values. */
interface Doc {
  readonly kind?: string;
  readonly name?: string;
  readonly def?: Doc;
  readonly functionDef?: Doc;
  readonly typeParams?: readonly Doc[];
  readonly extends?: string | readonly Doc[];
  readonly superTypeParams?: readonly Doc[];
  readonly implements?: readonly Doc[];
  readonly constructors?: readonly Doc[];
  readonly properties?: readonly Doc[];
  readonly methods?: readonly Doc[];
  readonly indexSignatures?: readonly Doc[];
  readonly params?: readonly Doc[];
  readonly returnType?: Doc;
  readonly tsType?: Doc;
  /** The name and type of a parameter with a default value. */
  readonly left?: Doc;
  /** The name of a parameter behind three dots. */
  readonly arg?: Doc;
  readonly value?: string | TypeValue | Doc[];
  readonly constraint?: Doc;
  readonly default?: Doc;
  readonly accessibility?: string;
  readonly isStatic?: true;
  readonly isAbstract?: true;
  readonly readonly?: true;
  readonly optional?: true;
  readonly hasBody?: true;
  readonly jsDoc?: { readonly tags?: readonly Doc[] };
}

/** The parts of a type that is neither a name nor a list of types. */
interface TypeValue extends Doc {
  readonly string?: string;
  readonly number?: number;
  readonly boolean?: boolean;
  readonly tsTypes?: readonly Doc[];
  readonly typeName?: string;
  readonly operator?: string;
  readonly typeParam?: Doc;
  readonly objType?: Doc;
  readonly indexType?: Doc;
  readonly checkType?: Doc;
  readonly extendsType?: Doc;
  readonly trueType?: Doc;
  readonly falseType?: Doc;
}

interface DocGraph {
  readonly nodes: Readonly<Record<string, { readonly symbols: readonly DocSymbol[] }>>;
}

interface DocSymbol {
  readonly name: string;
  readonly declarations: readonly Doc[];
}

/** Lists the names that each module exports, and the declarations of these names. */
async function listExports(): Promise<string[][]> {
  const entries = await readEntries();
  const command = [Deno.execPath(), "doc", "--json", ...entries.values()];
  const { nodes }: DocGraph = JSON.parse(await runOrThrow(command, { cwd: ROOT }));
  const names: string[] = [];
  const lines: string[] = [];
  for (const [entry, path] of entries) {
    for (const { name, declarations } of nodes[new URL(path, ROOT).href]!.symbols) {
      names.push(`${entry} exports ${name}`);
      lines.push(...listCallable(declarations).flatMap((each) => describeExport(name, each)));
    }
  }
  return [names, lines];
}

/** Leaves out the implementation of an overloaded function, which callers don't see. */
function listCallable(functions: readonly Doc[] = []): Doc[] {
  const hasBody = ({ def, functionDef, ...rest }: Doc) => (def ?? functionDef ?? rest).hasBody;
  return functions.filter((each) =>
    !hasBody(each) || functions.every((other) => other.name !== each.name || hasBody(other))
  );
}

function describeExport(name: string, { kind = "", def = {} }: Doc): string[] {
  const { tsType = {}, superTypeParams } = def;
  const head = `${name}${describeList("<", def.typeParams, ">")}`;
  switch (kind) {
    case "reference":
      return [];
    case "function":
      return [`function ${name}${describeSignature(def)}`];
    case "variable":
      return [`const ${name}: ${describe(tsType)}`];
    case "typeAlias":
      return tsType.kind === "union" && Array.isArray(tsType.value)
        ? tsType.value.map((type) => `type ${head} | ${describe(type)}`)
        : [`type ${head} = ${describe(tsType)}`];
  }
  const parents = typeof def.extends === "string"
    ? ` extends ${def.extends}${describeList("<", superTypeParams, ">")}`
    : describeList(" extends ", def.extends, "");
  return [
    `${def.isAbstract ? "abstract " : ""}${kind} ${head}${parents}` +
    describeList(" implements ", def.implements, ""),
    ...listMembers(def).map((member) => `${kind} ${name} { ${member} }`),
  ];
}

function listMembers({ properties = [], indexSignatures = [], ...def }: Doc): string[] {
  const isPublic = ({ accessibility, jsDoc }: Doc) =>
    accessibility !== "private" && !jsDoc?.tags?.some(({ kind }) => kind === "internal");
  const functions = [...listCallable(def.constructors), ...listCallable(def.methods)];
  return [
    ...[...properties, ...functions].filter(isPublic).map(describeMember),
    ...indexSignatures.map(({ params, tsType }) =>
      `${describeList("[", params, "]")}: ${describe(tsType!)}`
    ),
  ];
}

function describeMember(member: Doc): string {
  const { name, kind, functionDef = member } = member;
  // A getter without a setter is a readonly property to a caller.
  const type = kind === "getter" ? functionDef.returnType : member.tsType;
  const words = [
    member.accessibility,
    member.isStatic && "static",
    member.isAbstract && "abstract",
    (member.readonly || kind === "getter") && "readonly",
    name + (member.optional ? "?" : ""),
  ];
  const head = words.filter((word) => word).join(" ");
  return type === undefined ? head + describeSignature(functionDef) : `${head}: ${describe(type)}`;
}

function describeSignature({ typeParams, params, returnType, tsType }: Doc, arrow = ": "): string {
  const type = returnType ?? tsType;
  const result = type === undefined ? "" : arrow + describe(type);
  return `${describeList("<", typeParams, ">")}(${describeList("", params, "")})${result}`;
}

function describeList(start: string, items: readonly Doc[] = [], end: string): string {
  return items.length === 0 ? "" : start + items.map(describe).join(", ") + end;
}

/** Describes a type, a parameter, or a parameter of a type. */
function describe(doc: Doc): string {
  const { kind = "", value } = doc;
  if (typeof value === "string") return kind === "typeQuery" ? `typeof ${value}` : value;
  if (Array.isArray(value)) {
    if (kind === "tuple") return `[${value.map(describe).join(", ")}]`;
    return value.map(describe).join(kind === "union" ? " | " : " & ");
  }
  if (value !== undefined) return describeType(kind, value);
  return kind === "this" ? kind : describeParameter(doc);
}

function describeParameter(parameter: Doc): string {
  const { name = "_", left, arg, optional, tsType, constraint } = parameter;
  if (left !== undefined) {
    return describe({ ...left, optional: true, tsType: left.tsType ?? tsType! });
  }
  if (arg !== undefined) return `...${describe({ ...arg, tsType: tsType! })}`;
  return name + (optional ? "?" : "") +
    (tsType === undefined ? "" : `: ${describe(tsType)}`) +
    (constraint === undefined ? "" : ` extends ${describe(constraint)}`) +
    (parameter.default === undefined ? "" : ` = ${describe(parameter.default)}`);
}

function describeType(kind: string, value: TypeValue): string {
  const describeAll = (...types: readonly (Doc | undefined)[]) =>
    types.map((type) => describe(type!));
  switch (kind) {
    case "literal":
      if (value.tsTypes === undefined) {
        return JSON.stringify(value.string ?? value.number ?? value.boolean);
      }
      return `\`${value.tsTypes.map(describeTemplatePart).join("")}\``;
    case "typeRef":
      return value.typeName + describeList("<", value.typeParams, ">");
    case "array":
      return `${describe(value)}[]`;
    case "parenthesized":
      return `(${describe(value)})`;
    case "typeOperator":
      return `${value.operator} ${describe(value.tsType!)}`;
    case "fnOrConstructor":
      return describeSignature(value, " => ");
    case "infer":
      return `infer ${describe(value.typeParam!)}`;
    case "typeLiteral":
      return `{ ${listMembers(value).join("; ")} }`;
    case "indexedAccess": {
      const [object, index] = describeAll(value.objType, value.indexType);
      return `${object}[${index}]`;
    }
    case "mapped": {
      const [parameter, type] = describeAll(value.typeParam, value.tsType);
      const word = value.readonly ? "readonly " : "";
      return `{ ${word}[${parameter}]${value.optional ? "?" : ""}: ${type} }`;
    }
    case "conditional": {
      const { checkType, extendsType, trueType, falseType } = value;
      const [check, base, yes, no] = describeAll(checkType, extendsType, trueType, falseType);
      return `${check} extends ${base} ? ${yes} : ${no}`;
    }
  }
  throw new Error(`deno doc has another kind of types: ${kind}`);
}

function describeTemplatePart(part: Doc): string {
  const { value } = part;
  const isText = typeof value === "object" && "string" in value;
  return isText ? `${value.string}` : `\${${describe(part)}}`;
}

// The program.

const program = makeProgram(() => () => Promise.resolve());

/** Lists the commands with their operands, and the options of each command. */
function listCommands(command: typeof program.commands[number] = program, path = ""): string[] {
  const name = `${path}${command.name()}`;
  const operands = command.registeredArguments.map((operand) => {
    const text = (operand.argChoices?.join("|") ?? operand.name()) +
      (operand.variadic ? "..." : "");
    return operand.required ? ` <${text}>` : ` [${text}]`;
  });
  const head = `command ${name}${operands.join("")}`;
  // `permissions` and `service install` have copies of other commands.
  const isCopy = path.split(" ").length > 2 &&
    program.commands.some((other) => other.name() === command.name());
  const options = command.options.map(({ flags, hidden }) =>
    `option ${name} ${flags}${hidden ? " (hidden)" : ""}`
  );
  const children = command.commands.flatMap((child) => listCommands(child, `${name} `));
  return isCopy ? [head] : [head, ...options, ...children];
}

/** Lists codes that no type has, and the names in the JSON of the program, from its pages. */
async function listStatedNames(): Promise<string[][]> {
  const codes = Object.entries(EXIT_CODES).map(([code, exitCode]) =>
    `error code ${code}, exit code ${exitCode}`
  );
  const names = Object.keys(makeErrorObject(new Failure(""))).map((name) =>
    `JSON of an error: ${name}`
  );
  for (const page of ["reference", "service"]) {
    const text = await readProjectFile(`agent/docs/${page}.md`);
    for (const section of text.split(/^##+ /m)) {
      const [, command] = /^degu (\w+)\n/.exec(section) ?? [];
      if (command === undefined) continue;
      const passages = section.match(/\bJSON\b.*?(?=\n\n|\n- |$(?![^]))/gs) ?? [];
      const words = passages.join("").replaceAll(/(?:as for|JSON of) `\w+`/g, "");
      for (const [, word] of words.matchAll(/`([a-z]\w*)`/g)) {
        names.push(`JSON of degu ${command}: ${word}`);
      }
    }
  }
  const [, table = ""] = /^### ConnectionError\n(.*?)^### /ms.exec(
    await readProjectFile("docs/base.md"),
  ) ?? [];
  const connectionCodes = Array.from(
    table.matchAll(/^\| `([A-Z_]+)`/gm),
    ([, code]) => `code of a ConnectionError: ${code}`,
  );
  return [connectionCodes, codes, [...new Set(names)]];
}
