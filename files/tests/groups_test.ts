/** The groups of copied files: a directory with the set-group-ID bit passes on its group. */
import { upload } from "@degu/files";
import { createTempDir } from "@degu/testing/directories.ts";
import { DIRECTIONS, makeTrees } from "@degu/testing/trees.ts";
import { assertEquals } from "@std/assert";

const SHARED_GROUP = 54321;
const LARGE = "x".repeat(70_000);

async function canChangeGroups(): Promise<boolean> {
  if (Deno.build.os !== "linux") return false;
  await using dir = await createTempDir();
  try {
    await Deno.chown(dir.path, null, SHARED_GROUP);
    return true;
  } catch {
    console.warn("This user can't change groups: tests are skipped");
    return false;
  }
}

const ignore = !await canChangeGroups();

async function share(path: string): Promise<void> {
  await Deno.mkdir(path, { recursive: true });
  await Deno.chown(path, null, SHARED_GROUP);
  await Deno.chmod(path, 0o2775);
}

const groupOf = async (path: string) => (await Deno.stat(path)).gid;

if (!ignore) {
  Deno.test.each(DIRECTIONS)(
    "%s: a file gets the group of a directory with the set-group-ID bit, and else that of the process",
    async (direction) => {
      const files = {
        "family/small": "1",
        "family/large": LARGE,
        "family/empty": "",
        "family/new/deep/small": "2",
        "family/new/deep/large": LARGE,
        "family/replaced": "3",
        "family/blocked": LARGE,
        "family/file/below": LARGE,
        "own/small": "4",
        "own/large": LARGE,
      };
      await using trees = await makeTrees(direction, files);
      await share(`${trees.target}/family`);
      await Deno.writeTextFile(`${trees.target}/family/replaced`, "of another group");
      await Deno.mkdir(`${trees.target}/family/blocked`);
      await Deno.writeTextFile(`${trees.target}/family/file`, "blocks a directory");
      const ownGroup = await groupOf(trees.target);
      // The first call deletes the entries in the way.
      assertEquals((await trees.copy({ delete: true })).result.failed, 3);
      assertEquals((await trees.copy({ delete: true })).result.failed, 0);
      for (const path of Object.keys(files)) {
        const expected = path.startsWith("family/") ? SHARED_GROUP : ownGroup;
        assertEquals(await groupOf(`${trees.target}/${path}`), expected, path);
      }
      assertEquals(await groupOf(`${trees.target}/family/new/deep`), SHARED_GROUP);
    },
  );

  Deno.test("uploads of single files and of streams get the group of their directory", async () => {
    await using trees = await makeTrees("upload", { small: "1", large: LARGE });
    const { client, source, target } = trees;
    await share(`${target}/family`);
    for (const name of ["small", "large"]) {
      await upload(client, `${source}/${name}`, ["tree", "family", name]);
    }
    await upload(client, new Blob(["streamed"]).stream(), ["tree", "family", "streamed"]);
    const response = await client.request("PUT", "/tree/family/new/put", {}, new Uint8Array(5));
    assertEquals(response.status, 201);
    for (const name of ["small", "large", "streamed", "new/put"]) {
      assertEquals(await groupOf(`${target}/family/${name}`), SHARED_GROUP, name);
    }
  });
}
