/**
 * Daily work over three devices with a cable that is unplugged during each command, in network
 * namespaces.
 */
import { makeLabTest } from "../agent_lab.ts";
import { assert, assertEquals } from "@std/assert";

interface Ended {
  readonly args: readonly string[];
  readonly code: number;
  readonly stderr: string;
  readonly objects: readonly Record<string, unknown>[];
}

Deno.test(
  await makeLabTest<{ ended: Ended[]; same: [string, boolean][]; files: number }>(
    "put -r, get --inbox -r, sync and rm -r lose, repeat and hide no file when the cable goes out",
    "agent_daily_work.ts",
    ["laptop", "phone", "desktop"],
    ({ ended, same, files }) => {
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
        // Two large files are removed besides the small files, and perhaps directories.
        if (args[0] === "rm") assert(removed.length >= files + 2, `${shown}: ${removed.length}`);
        else assert(copied.length >= files + 1, `${shown}: ${copied.length} of ${files}`);
      }
    },
  ),
);
