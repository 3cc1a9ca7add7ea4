/**
 * Records a session of the program, and puts it into README.md. Needs network namespaces, which Linux has, and `python3`.
 *
 * @module
 */

import { chooseStandardLibrary, PROJECT_ROOT } from "./standard_library.ts";

const README = new URL("README.md", PROJECT_ROOT);
const BLOCK = /(?<=<!-- recorded by deno task record -->\n+```text\n)[^]*?(?=```\n)/;

const readme = await Deno.readTextFile(README);
if (!BLOCK.test(readme)) {
  console.error("README.md has no block of text behind <!-- recorded by deno task record -->");
  Deno.exit(1);
}
const flags = await chooseStandardLibrary();
const { success, stdout } = await new Deno.Command(Deno.execPath(), {
  args: ["run", ...flags, ...Deno.args, "tests/recording/main.ts"],
  cwd: PROJECT_ROOT,
  stderr: "inherit",
}).output();
if (!success) Deno.exit(1);
const session = new TextDecoder().decode(stdout).trimEnd();
await Deno.writeTextFile(README, readme.replace(BLOCK, () => `${session}\n`));
console.log(session);
