/**
 * The backup of the examples: the copied files, and the messages if the recorder is offline or has
 * forgotten this device.
 */
import { Device } from "@degu/degu/device";
import { FilesApp } from "@degu/degu/files";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { assertNeeded, pairExamples, runExample, startExample } from "./examples.ts";
import { findOwnAddress, listenAgain } from "@degu/testing/ports.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";

const BACKUP = "examples/backup.ts";

/** Makes files that were written an hour ago. */
async function fillSettled(dir: string, files: Record<string, string>): Promise<void> {
  await fill(dir, files);
  const hourAgo = new Date(Date.now() - 3_600_000);
  for (const name of Object.keys(files)) await Deno.utime(`${dir}/${name}`, hourAgo, hourAgo);
}

Deno.test("a backup copies complete files, deletes superfluous ones, continues after the recorder was offline, and reports failed files and that it was forgotten", async () => {
  await using dir = await createTempDir();
  const cwd = dir.path;
  const [backupDir, source, audit] = [`${cwd}/kept`, `${cwd}/source`, `${cwd}/audit`];
  await fillSettled(source, { "a": "first", "below/b": "second" });
  await fill(source, { "c": "is still being written" });
  const writer = setInterval(() => Deno.utimeSync(`${source}/c`, new Date(), new Date()), 200);
  using _writing = { [Symbol.dispose]: () => clearInterval(writer) };
  await Deno.mkdir(backupDir);
  await using recorder = await Device.open(`${cwd}/recorder`, { name: "recorder" });
  const address = await findOwnAddress();
  const serve = () => recorder.serve(address, new FilesApp(backupDir, { list: true, write: true }));
  const first = await serve();

  const args = ["source", "1"];
  const unpaired = await runExample(BACKUP, { cwd, args });
  assertMatch(unpaired.stderr, /"degu --home DIRECTORY pair" adds one/);
  await pairExamples(recorder.dir, `${cwd}/backup-device`, "backup");
  await using backup = await startExample(BACKUP, { cwd, args, audit });
  await backup.waitForStdout(
    /^not complete: pending 1, skipped 0; copied 2, unchanged 0, deleted 0$/m,
  );
  assertEquals(await readTree(backupDir), { "a": "first", "below": null, "below/b": "second" });

  // A missing directory is an error, not a reason to delete the backup.
  const missing = await runExample(BACKUP, { cwd, args: ["missing"] });
  assertEquals(missing.success, false);
  assertMatch(missing.stderr, /missing/);

  first.close();
  await backup.waitForStderr(/; the next backup starts in 1 s$/m);
  await fillSettled(source, { "d": "third" });
  await Deno.remove(`${source}/a`);
  await using _second = await listenAgain(serve);
  await backup.waitForStdout(
    /^not complete: pending 1, skipped 0; copied 1, unchanged 1, deleted 1$/m,
  );
  assertEquals(await readTree(backupDir), { "below": null, "below/b": "second", "d": "third" });

  await makeLinks({ [`${backupDir}/e`]: "nowhere" });
  await fillSettled(source, { "e": "fourth" });
  await backup.waitForStderr(
    /1 entry could not be copied or deleted: .*"e": a symbolic link.*; the next backup starts in/m,
  );

  await recorder.forget("backup");
  await backup.waitForStderr(
    /(?:closed the connection before it sent a response|fatal alert).*; the next backup starts in \d+ s$/m,
  );
  backup.child.kill("SIGTERM");
  assert((await backup.waitForEnd()).success);
  await assertNeeded(BACKUP, audit, cwd);
});

Deno.test("the backup example prints its usage", async () => {
  const { success, stderr } = await runExample(BACKUP);
  assertEquals([success, stderr], [false, "Usage: backup.ts DIRECTORY [SECONDS]\n"]);
});
