/** Daily work and full disks, in namespaces that the tests make. */
import { makeLabTest } from "@degu/testing/agent_lab.ts";
import { findMountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";
import { importMapFlags, runProgram } from "@degu/testing/programs.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

// Daily work over three devices with a cable that is unplugged during each command, in network
// namespaces.

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

// The program with a full disk at the source or target: a tmpfs in a mount namespace of the test.

const obstacle = await findMountObstacle();

for (const isKnown of [true, false]) {
  const where = `where the free space is ${isKnown ? "known" : "not known"}`;
  Deno.test(
    `a full disk at either end is said, by commands and by a download, and the same goes on once there is space, ${where}`,
    ignoreIf(obstacle && `no tmpfs can be mounted here (${obstacle})`),
    async () => {
      const run = `--allow-run=mount,umount,${Deno.execPath()}`;
      const paths = ["--allow-read=.,/tmp", "--allow-write=/tmp"];
      const sys = `--allow-sys=uid${isKnown ? ",statfs" : ""}`;
      const flags = [run, "--allow-net=127.0.0.1", ...paths, sys, ...importMapFlags()];
      const options = { flags, through: THROUGH_MOUNT_NAMESPACE };
      const printed = await runProgram("agent_full_disk.ts", options);
      const [get, put, download] = JSON.parse(printed);
      // Files are sent concurrently. The size of each file is compared with the free space at its
      // start.
      const space = String.raw`[\d.]+ k?B are free`;
      const isFull = (where: string) =>
        RegExp(`(needs \\d+ kB, and|only) ${space} ${where}|no space is left ${where}`);
      assertMatch(get.full.stderr, isFull("on this device"));
      assertMatch(put.full.stderr, isFull("on camera"));
      for (const { full, fitting, four, ofFour, both, ofBoth, again, moved } of [get, put]) {
        assertEquals(full.code, 1);
        assertStringIncludes(full.stderr, "run the same command again");
        // If the free space is known, as many files as fit.
        if (isKnown) assertEquals([fitting, ofFour.length], [2, 2], full.stderr + four.stderr);
        else assert(fitting <= 2 && ofFour.length <= 2, full.stderr + four.stderr);
        assertEquals([four.code, both.code], [1, 1]);
        assert(!isKnown || ofBoth.includes("0"), both.stderr);
        assert(!ofBoth.includes("large"), both.stderr);
        assertEquals(again.code, 0, again.stderr);
        assertEquals(moved, [409600, 409600, 409600, 409600]);
      }
      const { part, resumedFrom, ...others } = download;
      const error = { name: "TransferError", code: "DISK_FULL", isNamed: true };
      assertEquals(others, { ...error, found: "old", isRight: true, names: ["copy"] });
      // No part was begun for a file that can't fit.
      if (isKnown) assertEquals(part, null);
      else assert(part > 900_000 && part <= 1_048_576, `${part}`);
      assertEquals(resumedFrom, part ?? 0);
    },
  );
}
