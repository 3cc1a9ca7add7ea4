/** Copying trees in processes with a low limit of open files. */
import { createTempDir, fill } from "@degu/testing/directories.ts";
import { copyInProcess, DIRECTIONS } from "@degu/testing/trees.ts";
import { assertEquals } from "@std/assert";
import { canRun } from "../refused_writes.ts";

const LIMITED = ["unshare", "-r", "sh", "-c", 'ulimit -n 128; exec "$@"', "sh"];
Deno.test({
  name: "trees can have more files and directories than can be open at once (needs unshare)",
  ignore: !await canRun(...LIMITED),
  async fn() {
    await using dir = await createTempDir();
    // All files of the target are deleted.
    const options = { delete: true, deleteAll: true };
    const jobs = DIRECTIONS.map((direction) => {
      return { dir: `${dir.path}/${direction}`, direction, options };
    });
    for (const { dir } of jobs) {
      for (let i = 0; i < 150; i++) {
        await fill(dir, {
          [`source/${i}`]: "x",
          [`source/made/${i}`]: null,
          [`source/kept/${i}`]: null,
          [`target/kept/${i}/old`]: "old",
        });
      }
    }
    for (const { result, rejection } of await copyInProcess(LIMITED, jobs)) {
      assertEquals(rejection, undefined);
      assertEquals([result.files, result.deleted, result.failed], [150, 150, 0]);
    }
  },
});
