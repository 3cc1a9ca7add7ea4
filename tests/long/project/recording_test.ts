/** README.md shows what the program prints, as it was printed in a real session; with `-- --record`, now. */
import { assert, assertEquals } from "@std/assert";
import { labObstacle, runInLab } from "@degu/testing/agent_lab.ts";
import { terminalObstacle, testUnless } from "@degu/testing/terminals.ts";
import { read, ROOT } from "@degu/testing/tree.ts";

const PROGRAM = "agent_send_session.ts";
const MARK = `<!-- recorded by deno task record: ${PROGRAM} -->`;
/** The block of README.md that the program in tests/programs has recorded. */
const BLOCK = new RegExp(`(?<=${RegExp.escape(MARK)}\\n+\`\`\`text\\n)[^]*?(?=\`\`\`\\n)`);

const why = await labObstacle() ?? await terminalObstacle();

testUnless(
  why,
  "the session in README.md is what happens now, but for ids, figures and times",
  async () => {
    const readme = await read("README.md");
    const [session] = BLOCK.exec(readme) ?? [];
    assert(session !== undefined, "README.md has no block of text behind the mark");
    const now = await runInLab(PROGRAM);
    if (Deno.args.includes("--record")) {
      const text = readme.replace(BLOCK, () => `${now.trimEnd()}\n`);
      return await Deno.writeTextFile(new URL("README.md", ROOT), text);
    }
    assert(session.length > 200, "README.md has no recording");
    assertEquals(masked(now), masked(session), "run deno task record");
  },
);

/** A session without what is another one each time. */
function masked(session: string): string {
  return session
    .replace(/\b[a-z2-7]{52}\b|\b[a-z2-7]{8}…/g, "ID")
    .replace(/(?<=announced .* as \w+-)[a-z2-7]{16}\b/, "ID")
    .replace(/degu:[\w-]+…/, "LINE")
    .replace(/\b\d{3} \d{3}\b/g, "NUMBER")
    .replace(/ +\d+ % .*/g, " BAR")
    // The terminal may break the line within a figure.
    .replace(/\d+(\.\d+)?\s+([kMG]?B|ms)\b/g, "N $2")
    .replace(/\b\d:\d\d\b/g, "TIME")
    .replace(/\s+/g, " ").trim();
}
