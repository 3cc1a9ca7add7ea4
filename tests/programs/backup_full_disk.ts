/**
 * Runs examples/backup.ts while the disk of the recorder, which is mounted in the directory that is
 * the argument, is full, and then larger; prints what the recorder has as JSON.
 */
import { Device } from "@degu/degu/device";
import { FilesApp } from "@degu/degu/files";
import { mustRun } from "@degu/testing/commands.ts";
import { content } from "@degu/testing/directories.ts";
import { pairDevices, runExample, startExample } from "@degu/testing/examples.ts";

const FILE_BYTES = 400 * 1024;
const [dir = ""] = Deno.args;
const disk = `${dir}/disk`;
for (const each of [disk, `${dir}/source`]) await Deno.mkdir(each);
await mustRun(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]);

const hourAgo = new Date(Date.now() - 3_600_000);
for (let i = 0; i < 4; i++) {
  await Deno.writeFile(`${dir}/source/${i}`, new Uint8Array(FILE_BYTES).fill(48 + i));
  await Deno.utime(`${dir}/source/${i}`, hourAgo, hourAgo);
}

{
  await using recorder = await Device.open(`${dir}/recorder`, { name: "recorder" });
  const app = new FilesApp(disk, { list: true, write: true });
  await using _server = await recorder.serve(["127.0.0.1", 0], app);
  const options = { cwd: dir, args: ["source", "1"] };
  await runExample("examples/backup.ts", options); // makes its device
  await pairDevices(recorder.dir, `${dir}/backup-device`, "backup");
  await using backup = await startExample("examples/backup.ts", options);
  await backup.complained(/^the disk of the recorder is full; the next backup begins in \d s$/m);
  await mustRun(["mount", "-o", "remount,size=8m", "tmpfs", disk]);
  await backup.printed(/^copied \d, deleted 0, failed 0$/m);
  backup.child.kill("SIGTERM");
  const { success } = await backup.ended();
  console.log(JSON.stringify({ success, content: await content(disk) }));
}
await mustRun(["umount", disk]);
