/**
 * Sessions of the program on the pages match real output. With `-- --record`, the sessions that
 * differ are updated.
 */
import { assert, assertEquals } from "@std/assert";
import { findLabObstacle, runInLab } from "../../../agent/tests/agent_lab.ts";
import { findTerminalObstacle, ignoreIf } from "@degu/testing/terminals.ts";
import { readProjectFile, ROOT } from "@degu/testing/project_files.ts";

const obstacle = await findLabObstacle() ?? await findTerminalObstacle();

for (
  const [page, program] of [
    ["agent/README.md", "agent_pair_session.ts"],
    ["agent/docs/guide.md", "agent_send_session.ts"],
  ] as const
) {
  Deno.test(
    `the session in ${page} matches the current output, except for ids, figures and times`,
    ignoreIf(obstacle),
    async () => {
      const block = blockOf(program);
      const text = await readProjectFile(page);
      const [session] = block.exec(text) ?? [];
      assert(session !== undefined, `${page} has no block of text behind the mark of ${program}`);
      const now = await runInLab(program);
      if (Deno.args.includes("--record") && masked(now) !== masked(session)) {
        const recorded = text.replace(block, () => `${now.trimEnd()}\n`);
        return await Deno.writeTextFile(new URL(page, ROOT), recorded);
      }
      assert(session.length > 200, `${page} has no recording`);
      assertEquals(masked(now), masked(session), "run deno task record");
    },
  );
}

/** Matches the block of a page that a program in tests/programs has recorded. */
function blockOf(program: string): RegExp {
  const mark = `<!-- recorded by deno task record: ${program} -->`;
  return new RegExp(`(?<=${RegExp.escape(mark)}\\n+\`\`\`text\\n)[^]*?(?=\`\`\`\\n)`);
}

/** Masks the parts of a session that differ in each run. */
function masked(session: string): string {
  return session
    .replace(/\b[a-z2-7]{52}\b|\b[a-z2-7]{8}…/g, "ID")
    .replace(/(?<=announced .* as \w+-)[a-z2-7]{16}\b/, "ID")
    .replace(/degu(-send)?:[\w-]+…/, "LINE")
    .replace(/\b\d{3} \d{3}\b/g, "NUMBER")
    .replace(/ +\d+ % .*/g, " BAR")
    // The terminal may break the line within a figure.
    .replace(/\d+(\.\d+)?\s+([kMG]?B|ms)\b/g, "N $2")
    .replace(/\b\d:\d\d\b/g, "TIME")
    .replace(/\s+/g, " ").trim();
}
