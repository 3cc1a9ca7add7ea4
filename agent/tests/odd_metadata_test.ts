/** Commands on files whose times or sizes can't be represented. */
import { createTempDir } from "@degu/testing/directories.ts";
import { findMountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";
import { importMapFlags, runProgram } from "@degu/testing/programs.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { assert, assertEquals } from "@std/assert";

const ODD_NAMES = ["far", "size", "year"];
const PROBLEM = "its time or size can't be represented";

const obstacle = await findMountObstacle();

/** Checks the exit code and the lines of a command, which may have other lines. */
function checkLines([code, ...lines]: string[], expected: readonly [number, ...string[]]): void {
  const [expectedCode, ...expectedLines] = expected;
  assertEquals(code, expectedCode as unknown as string, lines.join("\n"));
  for (const line of expectedLines) assert(lines.includes(line), `${line}\n\n${lines.join("\n")}`);
}

Deno.test(
  "files with odd times or sizes are skipped, replaced and removed by each command, and the others are copied",
  ignoreIf(obstacle && `no tmpfs can be mounted here (${obstacle})`),
  async () => {
    await using dir = await createTempDir();
    const mount = 'mount -t tmpfs tmpfs "$0" && exec "$@"';
    const printed = await runProgram("agent_odd_metadata.ts", {
      flags: ["--allow-all", ...importMapFlags()],
      env: { TMPDIR: dir.path },
      through: [...THROUGH_MOUNT_NAMESPACE, "sh", "-c", mount, dir.path],
    });
    const results = JSON.parse(printed);
    const warnings = (prefix: string) =>
      ODD_NAMES.map((name) => `degu: warning: ${prefix}/${name}: skipped: ${PROBLEM}`);
    const kind = "a file whose time or size can't be represented";
    checkLines(results.ls, [0, ...ODD_NAMES.map((name) => `degu: warning: ${name} is ${kind}`)]);

    const [gotTree, copied, gotFile] = results.get;
    checkLines(gotTree, [0, ...warnings("camera:odd")]);
    checkLines(gotFile, [1, `degu: error: "camera:odd/far" is ${kind}`]);
    const [putTree, put, putFiles, moved] = results.put;
    checkLines(putTree, [0, ...warnings("LOCAL/odd")]);
    assertEquals([copied, put], [["good", "last"], ["good", "last"]]);
    const errors = ODD_NAMES.map((name) => `degu: error: LOCAL/odd/${name}: ${PROBLEM}`);
    checkLines(putFiles, [1, ...errors]);
    checkLines(moved, [1, `degu: error: LOCAL/odd/far: ${PROBLEM}`]);

    const [kept, replaced, content, repaired] = results.replace;
    const exists = "another file of this name exists on camera: replace it with --force";
    checkLines(kept, [1, `degu: error: LOCAL/new: ${exists}`]);
    checkLines(replaced, [0, "camera:odd/far"]);
    assertEquals([content, repaired[0]], ["new", 0]);

    const [syncedFrom, syncedTo, remaining] = results.sync;
    checkLines(syncedFrom, [0, ...warnings("camera:odd")]);
    checkLines(syncedTo, [0, "deleted camera:odd/far"]);
    // --delete keeps a file that can't be compared.
    assertEquals(remaining, ["good", "last", "size", "year"]);

    const [removed, removedTree, isLeft] = results.rm;
    checkLines(removed, [0, "removed camera:odd/far"]);
    checkLines(removedTree, [0, "removed camera:odd/size", "removed camera:odd/year"]);
    assertEquals(isLeft, false);
    checkLines(results.send, [1, `degu: error: "SHARE/odd/far": ${PROBLEM}`]);
    checkLines(results.alive, [0]);
  },
);
