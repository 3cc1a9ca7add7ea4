/** Processes that are killed at any moment while they move files and trees. */
import { killDownloads, KILLS_OF_A_TEST, killUploads, killWriters } from "@degu/testing/kills.ts";
import { killTreeDownloads, killTreeServers, killTreeUploads } from "@degu/testing/kills.ts";

// download: a process that is killed at any moment.

Deno.test("a download that is killed at any moment leaves the old file, the new one, or a part", async () => {
  await killDownloads(KILLS_OF_A_TEST);
});

// upload: a process that is killed at any moment.

Deno.test("an upload that is killed at any moment leaves nothing visible, or the whole file", async () => {
  await killUploads(KILLS_OF_A_TEST);
});

// Unfinished files: processes that are killed while they write.

Deno.test("a process that is killed at any moment leaves no half-written file", async () => {
  await killWriters(KILLS_OF_A_TEST);
});

// downloadTree, uploadTree and FilesApp: processes that are killed at any moment.

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
