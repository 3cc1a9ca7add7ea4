/** Daily work over three devices with a cable that goes out in the middle of each command, in network namespaces. */
import { assert, assertEquals } from "@std/assert";
import { labTest } from "@degu/testing/agent_lab.ts";

interface Ended {
  readonly args: readonly string[];
  readonly code: number;
  readonly stderr: string;
  readonly objects: readonly Record<string, unknown>[];
}

await labTest<{ ended: Ended[]; same: [string, boolean][]; files: number }>({
  name:
    "put -r, get --inbox -r, sync and rm -r lose, repeat and hide no file when the cable goes out",
  program: "agent_daily_work.ts",
  check: ({ ended, same, files }) => {
    for (const { args, code, stderr } of ended) {
      assertEquals(code, 0, `degu ${args.join(" ")}: ${stderr}`);
    }
    assertEquals(same.filter(([, isSame]) => !isSame), []);
    for (const { args, objects } of ended) {
      const names = objects.map(({ to, removed, path }) => to ?? removed ?? path);
      const shown = `degu ${args.join(" ")}`;
      assertEquals(names.length, new Set(names).size, `${shown} repeats something`);
      assert(objects.every((object) => !("error" in object)), shown);
      const copied = objects.filter(({ to, unchanged }) => to !== undefined && !unchanged);
      const removed = objects.filter((object) => "removed" in object);
      // The two large ones; directories are removed, too.
      if (args[0] === "rm") assert(removed.length >= files + 2, `${shown}: ${removed.length}`);
      else assert(copied.length >= files + 1, `${shown}: ${copied.length} of ${files}`);
    }
  },
});
