/** The program as a bundle of `deno task bundle`. */
import { AgentHomes, watch } from "@degu/testing/agents.ts";
import { readInstallFlags } from "@degu/testing/agent_documentation.ts";
import { makeDenoCommand, runCommand, runOrThrow, startCommand } from "@degu/testing/commands.ts";
import { fill } from "@degu/testing/directories.ts";
import { fromFileUrl, join } from "@std/path";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

const PROJECT = fromFileUrl(new URL("../../..", import.meta.url));

Deno.test("a bundle needs no checkout, has source maps, copies files, and serves them in threads", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  const [directory, share] = [homes.joinPath("bundle"), homes.joinPath("share")];
  const [inbox, got] = [homes.joinPath("inbox"), homes.joinPath("got")];
  const bundle = [Deno.execPath(), "task", "--cwd", PROJECT, "bundle", directory];
  await runOrThrow(bundle);
  const { success, stderr } = await runCommand(bundle);
  assert(!success);
  assertStringIncludes(stderr, "isn't an empty directory");
  for await (const { name } of Deno.readDir(directory)) {
    const code = await Deno.readTextFile(join(directory, name));
    if (name.endsWith(".js")) assertStringIncludes(code, `//# sourceMappingURL=${name}.map`);
    if (!name.endsWith(".map")) assert(!code.includes(PROJECT), name);
  }

  const flags = await readInstallFlags();
  const start = (name: string, ...args: string[]) => {
    const home = ["--home", homes.joinPath(name)];
    const command = makeDenoCommand(flags, join(directory, "main.ts"), ...home, ...args);
    const child = startCommand(command, { cwd: directory, env: { NO_COLOR: "1" } });
    return watch(child, "", args.join(" "));
  };
  await fill(homes.path, { "share/a": "1", "share/sub/b": "22", "inbox": null });
  await homes.pair("camera", "viewer");
  const listen = ["--listen", "127.0.0.1:0", "--no-announce"];
  await using camera = start(
    "camera",
    ...["serve", "--threads", "--share", share, "--inbox", inbox, ...listen],
  );
  const address = /127\.0\.0\.1:\d+/.exec(await camera.waitForLine("127.0.0.1"))![0];
  for (
    const args of [
      ["get", "-r", "camera:", got],
      ["put", "-r", share, "camera:copy"],
      ["sync", "--delete", share, "camera:copy"],
    ]
  ) {
    await using viewer = start("viewer", ...args, "--address", address);
    const { code, stderr } = await viewer.waitForEnd();
    assertEquals(code, 0, stderr);
  }
  assertEquals(await Deno.readTextFile(`${got}/sub/b`), "22");
  assertEquals(await Deno.readTextFile(`${inbox}/viewer/copy/sub/b`), "22");
  camera.kill("SIGINT");
  assertEquals((await camera.waitForEnd()).code, 0);
});
