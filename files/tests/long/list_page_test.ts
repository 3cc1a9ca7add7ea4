/** The page of a directory in Chromium, and in the programs that copy what a page links. */
import { FilesApp } from "@degu/degu/files";
import { runOrThrow } from "@degu/testing/commands.ts";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { findProgramObstacle, ignoreIf } from "@degu/testing/terminals.ts";
import { assertEquals } from "@std/assert";

/** Runs a command with bash, because the permission of the tests doesn't list the program. */
const THROUGH_BASH = ["bash", "-c", 'exec "$0" "$@"'];

const isPage = (path: string) => /(?:^|\/)index\.html/.test(path);

const CONTENT = { "a b.txt": "a", "a:b": "", "sub/ü&<b>'\".txt": "b", "sub/deep/100%": "c" };

const PROGRAMS: readonly [program: string, command: (url: string, dir: string) => string[]][] = [
  ["wget", (url, dir) => ["-q", "-r", "-np", "-nH", "-P", dir, url]],
  ["lftp", (url, dir) => ["-c", `open ${url}; mirror . "${dir}"`]],
];

for (const [program, argsOf] of PROGRAMS) {
  Deno.test({
    name: `${program} copies a served directory by its pages`,
    ...ignoreIf(await findProgramObstacle(program)),
    async fn() {
      await using source = await createTempDir();
      await using target = await createTempDir();
      await fill(source.path, CONTENT);
      await using serving = serve(new FilesApp(source.path, { list: true }));
      const [, port] = serving.address as [string, number];
      const args = argsOf(`http://127.0.0.1:${port}/`, target.path);
      await runOrThrow([...THROUGH_BASH, program, ...args]);
      const copied = Object.entries(await readTree(target.path));
      // wget also keeps the pages.
      const files = Object.fromEntries(copied.filter(([path]) => !isPage(path)));
      assertEquals(files, await readTree(source.path));
    },
  });
}

Deno.test({
  name: "Chromium shows the entries of a directory, with links",
  ...ignoreIf(await findProgramObstacle("chromium")),
  async fn() {
    await using source = await createTempDir();
    await using profile = await createTempDir();
    await fill(source.path, CONTENT);
    await using serving = serve(new FilesApp(source.path, { list: true }));
    const [, port] = serving.address as [string, number];
    const dom = await runOrThrow([
      ...[...THROUGH_BASH, "chromium", "--headless", "--no-sandbox", "--disable-gpu"],
      ...["--disable-background-networking", "--no-proxy-server", "--dump-dom"],
      ...[`--user-data-dir=${profile.path}`, `http://127.0.0.1:${port}/sub/`],
    ]);
    assertEquals([...dom.matchAll(/<a href="(.*?)">(.*?)<\/a>/g)].map(([, ...link]) => link), [
      ["../", "../"],
      ["deep/", "deep/"],
      ["%C3%BC%26%3Cb%3E%27%22.txt", "ü&amp;&lt;b&gt;'\".txt"],
    ]);
  },
});
