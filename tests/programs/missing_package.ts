/**
 * Requests a file of a FilesApp while the packages are missing from Deno's cache, and again with
 * them: prints each response, or the name of the error. The first argument is the directory of the
 * cache, and the second is the served directory.
 */

import { FilesApp } from "@degu/files";
import { mkreq } from "@degu/degu/misc";

const [cache = "", dir = ""] = Deno.args;
Deno.renameSync(`${cache}/npm`, `${cache}/away`);
const app = new FilesApp(dir);
const request = async () => {
  try {
    const [status, , headers] = await app.handle(mkreq("HEAD", "/a.txt"));
    console.log(status, headers["content-type"]);
  } catch (error) {
    console.log((error as Error).name);
  }
};
await request();
Deno.renameSync(`${cache}/away`, `${cache}/npm`);
await request();
