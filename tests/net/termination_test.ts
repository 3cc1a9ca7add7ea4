/** The end of a program by a signal of the system: each test is about a process. */
import { RunningProcess } from "@degu/testing/processes.ts";
import { programCommand, runProgram } from "@degu/testing/programs.ts";
import { assertEquals } from "@std/assert";

for (const [name, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
  Deno.test(`the first ${name} aborts the termination signal, and the second ends the process`, async () => {
    const child = programCommand("termination.ts", { args: ["wait"] }).spawn();
    await using running = new RunningProcess(child);
    await running.printed(/ready/);
    child.kill(name);
    await running.printed(new RegExp(`DeguError: the program was told to end by ${name}`));
    child.kill(name);
    await running.ended();
    assertEquals((await child.status).code, code);
  });
}

Deno.test("the termination signal is one, and keeps no process alive", async () => {
  assertEquals(await runProgram("termination.ts"), "true\nready\n");
});
