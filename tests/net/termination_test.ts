/** Terminating programs by signals of the system, in separate processes. */
import { createTempDir } from "@degu/testing/directories.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { makeProgramCommand, runProgram } from "@degu/testing/programs.ts";
import { RawServer } from "@degu/testing/raw_peer.ts";
import { runUntilSignal } from "@degu/degu";
import { catchRejection } from "@degu/testing/expectations.ts";
import { assertEquals, assertInstanceOf, assertMatch } from "@std/assert";

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

// ───────────────────────── runUntilSignal()

/** Sends signals to a program that a timer and stdin keep alive; returns how it ended. */
async function endBySignals(main: string, ready: RegExp, ...signals: Deno.Signal[]) {
  const env = { NO_COLOR: "1" };
  const command = makeProgramCommand("run_until_signal.ts", { args: [main], env }, "piped");
  const child = command.spawn();
  await using stack = new AsyncDisposableStack();
  stack.defer(() => child.stdin.close().catch(() => {}));
  await using running = new RunningProcess(child);
  await running.waitForStdout(ready);
  for (const [i, signal] of signals.entries()) {
    if (i > 0) await running.waitForStdout(/aborted/);
    child.kill(signal);
  }
  const { stdout, stderr } = await running.waitForEnd();
  return { code: (await child.status).code, stdout: stdout.replace(/^ready\n/, ""), stderr };
}

for (const [name, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
  Deno.test(`after ${name}, runUntilSignal() ends the process when its function has ended, although a timer and stdin keep it alive`, async () => {
    const ok = { code: 0, stdout: "", stderr: "" };
    const rows = [
      ["returns", { ...ok, stdout: "disposed of, true\n" }],
      ["sets the code", { ...ok, code: 3 }],
      ["throws the reason", { ...ok, code }],
      ["throws because of the reason", { ...ok, code }],
    ] as const;
    for (const [main, end] of rows) {
      assertEquals(await endBySignals(main, /ready/, name), end, main);
    }
    const { stderr, ...end } = await endBySignals("throws another error", /ready/, name);
    assertMatch(stderr, /Uncaught \(in promise\) Error: the disk is full/);
    assertEquals(end, { code: 1, stdout: "" });
  });

  Deno.test(`a second ${name} ends a process whose function ignores the signal`, async () => {
    const { stderr, ...end } = await endBySignals("ignores the signal", /ready/, name, name);
    assertEquals([end.code, end.stdout, stderr], [code, "aborted\n", ""]);
  });

  Deno.test(`when the function has ended without a signal, runUntilSignal() settles as the function, and the next ${name} ends the process`, async () => {
    const rows = [["has ended", "result 5\n"], ["has failed", "result Error: no\n"]] as const;
    for (const [main, stdout] of rows) {
      const end = await endBySignals(main, /result/, name);
      assertEquals(end, { code, stdout, stderr: "" }, main);
    }
  });
}

Deno.test("runUntilSignal() rejects without a function", async () => {
  const error = await catchRejection(runUntilSignal(5 as never), "a number");
  assertInstanceOf(error, TypeError);
  assertEquals(error.message, "main: must be a function; got number");
});
