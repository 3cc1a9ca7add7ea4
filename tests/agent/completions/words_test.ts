import { assert, assertEquals } from "@std/assert";
import { wordsOf } from "@degu/internal/agent/completions/words.ts";
import { makeProgram } from "@degu/internal/agent/program.ts";

const words = wordsOf(makeProgram(() => Promise.resolve()));

Deno.test("every command has its words, with those of its options and operands", () => {
  const find = (name: string) => words.commands.find((command) => command.name === name)!;
  assertEquals(find("ping").operands, ["peer"]);
  assertEquals(find("ls").operands, ["remote"]);
  assertEquals(find("put").operands, ["remote", "file"]);
  assertEquals(find("sync").operands, ["remote", "directory"]);
  assertEquals(find("completions").choices, ["bash", "zsh", "fish"]);
  assertEquals(find("id"), {
    name: "id",
    summary: find("id").summary,
    options: [],
    operands: [],
    choices: [],
  });
  const values = Object.fromEntries(find("serve").options.map(({ long, value }) => [long, value]));
  assertEquals([values["--share"], values["--inbox"], values["--listen"]], [
    "directory",
    "directory",
    "text",
  ]);
  assertEquals(find("invite").options.find(({ long }) => long === "--qr")?.value, null);
});

Deno.test("the options of all commands are included, and everything has a summary", () => {
  const names = words.options.map(({ long }) => long);
  for (const name of ["--home", "--json", "--quiet", "--help"]) assert(names.includes(name), name);
  const all = [
    ...words.options,
    ...words.commands,
    ...words.commands.flatMap((each) => each.options),
  ];
  for (const { summary } of all) assert(summary.length > 3);
});
