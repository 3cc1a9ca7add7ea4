/** Terminating programs by signals of the system, in separate processes. */
import { createTempDir } from "@degu/testing/directories.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { makeProgramCommand, runProgram } from "@degu/testing/programs.ts";
import { RawServer } from "@degu/testing/raw_peer.ts";
import { assertEquals } from "@std/assert";

for (const [name, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
  Deno.test(`the first ${name} aborts the termination signal with the code TERMINATED, and the second ends the process`, async () => {
    const child = makeProgramCommand("termination.ts", { args: ["wait"] }).spawn();
    await using running = new RunningProcess(child);
    await running.waitForStdout(/ready/);
    child.kill(name);
    await running.waitForStdout(
      new RegExp(`DeguError: the program was terminated by ${name} TERMINATED`),
    );
    child.kill(name);
    await running.waitForEnd();
    assertEquals((await child.status).code, code);
  });
}

Deno.test("there is one termination signal, and it keeps no process alive", async () => {
  assertEquals(await runProgram("termination.ts"), "true\nready\n");
});

Deno.test("a program that awaits one call prints one line without a stack when it is terminated", async () => {
  await using dir = await createTempDir();
  using server = new RawServer();
  const [, port] = server.address;
  for (const call of ["request", "download", "uploadTree"]) {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const child = makeProgramCommand("termination.ts", {
        flags: ["--allow-net=127.0.0.1", `--allow-read=${dir.path}`, `--allow-write=${dir.path}`],
        args: [call, `${port}`, dir.path],
        env: { NO_COLOR: "1" },
      }).spawn();
      await using running = new RunningProcess(child);
      using peer = await server.accept();
      await peer.readPreamble();
      child.kill(signal);
      const { stderr } = await running.waitForEnd();
      assertEquals(
        stderr,
        `error: Uncaught (in promise) DeguError: the program was terminated by ${signal}\n`,
        call,
      );
      assertEquals((await child.status).code, 1);
    }
  }
});
