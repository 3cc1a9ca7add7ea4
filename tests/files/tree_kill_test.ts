/** downloadTree, uploadTree and FilesApp: processes that are killed at any moment. */
import { killTreeDownloads, killTreeServers, killTreeUploads } from "@degu/testing/tree_kills.ts";

const KILLS = 4;

Deno.test("a download of a tree that is killed at any moment tears and loses nothing, and can be continued", async () => {
  await killTreeDownloads(KILLS);
});

Deno.test("an upload of a tree that is killed at any moment tears and loses nothing, and can be continued", async () => {
  await killTreeUploads(KILLS);
});

Deno.test("a server that is killed while a tree is moved tears and loses nothing, and another one continues", async () => {
  await killTreeServers(KILLS);
});
