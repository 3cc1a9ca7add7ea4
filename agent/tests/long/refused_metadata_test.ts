/** Commands whose files and devices are on a disk that refuses times and permission bits. */
import { createTempDir, fill } from "@degu/testing/directories.ts";
import { makeOddDiskScript } from "../../../files/tests/odd_disk.ts";
import { importMapFlags, runProgram } from "@degu/testing/processes.ts";
import { canRun, IN_MOUNT_NAMESPACE } from "@degu/internal/files/tests/refused_writes.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

interface CommandResult {
  readonly code: number;
  readonly lines: readonly string[];
}

async function makeDiskCommand(dir: string, faults: readonly string[]): Promise<string[]> {
  await fill(dir, { faults: faults.map((line) => `${line}\n`).join("") });
  return [...IN_MOUNT_NAMESPACE, await makeOddDiskScript(dir, 'plain "$0/faults"'), dir];
}

async function canMountDisk(): Promise<boolean> {
  await using dir = await createTempDir();
  return await canRun(...await makeDiskCommand(dir.path, []));
}

const mayMount = await canMountDisk();

const WARNING = "the content is complete, but the disk refuses";

for (const code of ["EPERM", "ENOSYS"]) {
  Deno.test({
    name: `every command copies to a disk that refuses times and bits with ${code} (needs FUSE)`,
    ignore: !mayMount,
    async fn() {
      await using dir = await createTempDir();
      const faults = [
        ...[`utimens 0 ${code} .`, `chmod 0 ${code} .`],
        // As on FAT, every file of the inbox has the same bits.
        "fixed-bits 0 - /inboxes/viewer/",
      ];
      const results: Record<string, unknown> = JSON.parse(
        await runProgram("agent_refused_metadata.ts", {
          flags: ["--allow-all", ...importMapFlags()],
          env: { TMPDIR: `${dir.path}/disk` },
          through: await makeDiskCommand(dir.path, faults),
        }),
      );
      const { same, left, serve, ...commands } = results;
      assertEquals(same, new Array(7).fill(true));
      assertEquals(left, []);
      for (const [name, result] of Object.entries(commands)) {
        const { code, lines } = result as CommandResult;
        const text = `${name}: ${lines.join("\n")}`;
        assertEquals(code, 0, text);
        const warnings = lines.filter((line) => line.includes("warning"));
        // `get` and `put` leave an identical file as it is.
        if (/^(?:rm|send|(?:get|put)(?: -r)? again)$/.test(name)) assertEquals(warnings, [], text);
        else {
          const isPrivate = name === "put private";
          assert(warnings.length > 0 && warnings.length <= (isPrivate ? 3 : 2), text);
          assertStringIncludes(warnings[0]!, WARNING, text);
          if (isPrivate) assertStringIncludes(warnings.at(-1)!, "more users can read");
        }
        if (name.endsWith("again")) assert(!/[1-9]\d* files? copied/.test(text), text);
      }
      const { code: serveCode, lines } = serve as CommandResult;
      assertEquals([serveCode, lines.filter((line) => line.includes("warning"))], [0, []]);
    },
  });
}
