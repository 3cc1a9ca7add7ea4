/**
 * serveUntilSignal(): SIGTERM and SIGINT. These signals would also end other tests in this process,
 * so separate programs get them, and the tests in this process use another signal. Other processes
 * have few descriptors.
 */
import { assert, assertEquals, assertInstanceOf, assertMatch, assertRejects } from "@std/assert";
import { TextLineStream, toText } from "@std/streams";
import { Client } from "@degu/degu/client";
import { Server, serveUntilSignal, type StoppableServer } from "@degu/degu/server";
import { serveUntil as serveUntilSignals } from "@degu/internal/program/termination.ts";
import { findOwnAddress } from "@degu/testing/ports.ts";
import {
  makeProgramCommand,
  RunningProcess,
  runProgram,
  spawnScript,
} from "@degu/testing/processes.ts";
import { RawServer, withTimeout } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import {
  assertRefused,
  checkFirstSignal,
  checkSecondSignal,
  Gate,
  ignore,
} from "./until_signal.ts";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { runUntilSignal } from "@degu/degu";
import { catchRejection } from "@degu/testing/expectations.ts";
import { readProjectFile } from "@degu/testing/project_files.ts";
import { openSharedPki } from "@degu/testing/tls_endpoints.ts";
import { join } from "@std/path";

type Options = NonNullable<Parameters<typeof serveUntilSignal>[1]>;

/** A signal without other listeners in this process; without a listener it has no effect. */
const SIGNAL = "SIGURG";
/** Seconds. Programs are compiled first. */
const PATIENCE = 60;

function sendSignal(): void {
  Deno.kill(Deno.pid, SIGNAL);
}

function serveUntil(
  serving: StoppableServer | readonly StoppableServer[],
  options: Options = {},
): Promise<void> {
  return serveUntilSignals([SIGNAL], serving, options);
}

async function start({ app }: Gate) {
  const serving = serve(app, {}, await findOwnAddress());
  return {
    server: serving.server,
    client: serving.makeClient(),
    [Symbol.asyncDispose]: () => serving[Symbol.asyncDispose](),
  };
}

Deno.test(
  "a server finishes pending requests at the first signal, and ends",
  { ignore },
  () => checkFirstSignal(SIGNAL, start),
);

Deno.test(
  "a server is closed at the second signal",
  { ignore },
  () => checkSecondSignal(SIGNAL, start),
);

Deno.test(
  "connections that remain at the deadline are closed, after one signal",
  { ignore },
  async () => {
    const gate = new Gate();
    await using serving = serve(gate.app);
    const untilSignal = serveUntil(serving.server, { deadline: 0.1 });
    using conn = await serving.makeClient().connect();
    const response = conn.get("/").catch(() => "cut");
    await gate.waitForCall();
    const start = performance.now();
    sendSignal();
    assertEquals(await withTimeout(response, "the connection is cut"), "cut");
    await withTimeout(untilSignal, "it ends");
    assert(performance.now() - start >= 95);
  },
);

Deno.test(
  "serveUntilSignal resolves if the server is closed or shut down, and the signal then has no effect",
  { ignore },
  async () => {
    for (const end of ["close", "shutdown"] as const) {
      await using serving = serve(new Gate().app);
      const { server } = serving;
      const untilSignal = serveUntil(server);
      await server[end]();
      await withTimeout(untilSignal, `it ends by ${end}()`);
      let stopped = 0;
      server.shutdown = () => Promise.resolve(void stopped++);
      const { promise: received, resolve } = Promise.withResolvers<void>();
      Deno.addSignalListener(SIGNAL, resolve);
      sendSignal();
      await withTimeout(received, "the signal arrives");
      Deno.removeSignalListener(SIGNAL, resolve);
      assertEquals(stopped, 0);
      // If the server has ended, the call resolves at once.
      await withTimeout(serveUntil(server), "it has ended");
    }
  },
);

Deno.test("serveUntilSignal refuses invalid options, and doesn't serve", async () => {
  const rows: [unknown, new () => Error, string][] = [
    [null, TypeError, "options: must be an object"],
    [{ signal: "SIGINT" }, TypeError, "signal: must be an AbortSignal; got string"],
    [{ signals: ["SIGINT"] }, TypeError, 'options: unknown option "signals"'],
    [{ deadline: "10" }, TypeError, "deadline: must be a number of seconds, or null"],
    [{ deadline: 0 }, RangeError, "deadline: must be a number of seconds above 0"],
  ];
  await using server = new Server(["127.0.0.1", 0], () => [204, "No Content", {}, null]);
  for (const [options, error, message] of rows) {
    const serving = server.serveUntilSignal(options as Options);
    await assertRejects(() => serving, error, message);
  }
});

for (const name of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(
    `by default ${name} ends a program gracefully, and afterwards at once`,
    { ignore },
    async () => {
      const script = `
        import { Server } from ${JSON.stringify(import.meta.resolve("../../../server.ts"))};
        const server = new Server(["127.0.0.1", 0], () => [204, "No Content", {}, null]);
        const serving = server.serveUntilSignal();
        console.log("serving");
        await serving;
        console.log("over");
        setTimeout(() => {}, 60_000);`;
      const child = await spawnScript(script, ["--allow-net=127.0.0.1"]);
      const errors = toText(child.stderr);
      const printed: string[] = [];
      const lines = child.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(
        new TextLineStream(),
      );
      for await (const line of lines) {
        printed.push(line);
        child.kill(name);
      }
      const status = await withTimeout(child.status, "the program ends", PATIENCE);
      assertEquals([printed, status.signal, await errors], [["serving", "over"], name, ""]);
    },
  );
}

Deno.test("an aborted signal of the options shuts the server down, also before it serves", async () => {
  for (const isEarly of [false, true]) {
    const controller = new AbortController();
    if (isEarly) controller.abort();
    const gate = new Gate();
    await using serving = serve(gate.app);
    const ended = serveUntil(serving.server, { signal: controller.signal });
    if (!isEarly) {
      const response = serving.makeClient().request("GET", "/");
      await gate.waitForCall();
      controller.abort();
      gate.respond();
      assertEquals((await response).status, 200);
    }
    await withTimeout(ended, "the server ends");
  }
  const wrong = { signal: "SIGTERM" } as unknown as Options;
  await using serving = serve(new Gate().app);
  await assertRejects(() => serveUntil(serving.server, wrong), TypeError, "signal");
});

Deno.test(
  "several servers serve, and the first signal shuts down all of them",
  { ignore },
  async () => {
    const gates = [new Gate(), new Gate()];
    await using first = serve(gates[0]!.app);
    await using second = serve(gates[1]!.app);
    const servings = [first, second];
    const untilSignal = serveUntil(servings.map(({ server }) => server));
    const responses = servings.map((serving) => serving.makeClient().request("GET", "/"));
    for (const gate of gates) await gate.waitForCall();
    sendSignal();
    for (const serving of servings) await assertRefused(serving.makeClient());
    for (const gate of gates) gate.respond();
    for (const response of responses) assertEquals((await response).status, 200);
    await withTimeout(untilSignal, "all servers have ended");
  },
);

Deno.test("a server that can't serve rejects the call, and closes the other servers", async () => {
  await using serving = serve(() => [204, "No Content", {}, null]);
  const events: string[] = [];
  const error = new Error("no address");
  const failing: StoppableServer = {
    serveForever: () => Promise.reject(error),
    shutdown: () => Promise.resolve(),
    close: () => events.push("close"),
  };
  const untilSignal = serveUntilSignal([serving.server, failing]);
  assertEquals(await assertRejects(() => untilSignal), error);
  assertEquals(events, ["close"]);
  await assertRefused(serving.makeClient());
});

Deno.test("a value that is not a server is rejected, and no server serves", async () => {
  await using serving = serve(() => [204, "No Content", {}, null]);
  const { server } = serving;
  for (const wrong of [undefined, null, {}, "server", Promise.resolve(server), [server, null]]) {
    const call = () => serveUntilSignal(wrong as StoppableServer);
    await assertRejects(call, TypeError, "servers: must be an object with the method");
  }
  await assertRejects(() => serveUntilSignal([]), RangeError, "servers: must have at least one");
});

// ───────────────────────── signals in separate processes

Deno.test("a program whose main function awaits one call ends with the code of the signal, and prints no error", async () => {
  await using dir = await createTempDir();
  using server = new RawServer();
  const [, port] = server.address;
  const rows = [["request", "SIGINT"], ["download", "SIGTERM"], ["uploadTree", "SIGINT"]] as const;
  for (const [call, signal] of rows) {
    const child = makeProgramCommand("termination.ts", {
      flags: ["--allow-net=127.0.0.1", `--allow-read=${dir.path}`, `--allow-write=${dir.path}`],
      args: [call, `${port}`, dir.path],
      env: { NO_COLOR: "1" },
    }).spawn();
    await using running = new RunningProcess(child);
    using peer = await server.accept();
    await peer.readPreamble();
    child.kill(signal);
    const { stdout, stderr } = await running.waitForEnd();
    const line = `DeguError: the program was terminated by ${signal} TERMINATED\n`;
    assertEquals([stdout, stderr], [line, ""], call);
    assertEquals((await child.status).code, signal === "SIGINT" ? 130 : 143);
  }
});

/** Starts a program that serves in this way; its response ends when it refuses connections. */
function spawnStoppingServer(way: string, dir: string): RunningProcess {
  const flags = [
    ...["--allow-net=127.0.0.1", "--allow-sys=uid", "--allow-env=TMPDIR"],
    ...[`--allow-read=${dir}`, `--allow-write=${dir}`],
  ];
  const env = { TMPDIR: dir, NO_COLOR: "1" };
  const command = makeProgramCommand("stopping_server.ts", { flags, args: [way], env });
  return new RunningProcess(command.spawn());
}

const ways = [
  "its own signal, aborted first",
  "its own signal, aborted last",
  "the signal of runUntilSignal()",
  "runUntilSignal() around a server without a signal",
  "a repeated action beside the server",
  "a ProxyApp",
];

Deno.test(
  "one SIGTERM lets a request end, and a second one cuts it, in each way to stop a server",
  { ignore },
  async (t) => {
    await using dir = await createTempDir();
    for (const way of ways) {
      for (const path of ["/whole", "/never"]) {
        await t.step(`${way}: ${path}`, async () => {
          await using running = spawnStoppingServer(way, dir.path);
          const port = Number(await running.waitForStdout(/^\d+$/m));
          using conn = await new Client(["127.0.0.1", port]).connect();
          const response = conn.get(path).then((response) => response.text(), () => "cut");
          await running.waitForStdout(/requested/);
          running.child.kill("SIGTERM");
          await running.waitForStdout(/stopping/);
          if (path === "/never") running.child.kill("SIGTERM");
          assertEquals(await response, path === "/never" ? "cut" : "whole");
          assertEquals((await running.waitForEnd()).stderr, "");
        });
      }
    }
  },
);

Deno.test("one SIGTERM lets a request to the server of a device end", { ignore }, async () => {
  await using dir = await createTempDir();
  await using running = spawnStoppingServer("the server of a device", dir.path);
  await running.waitForStdout(/requested/);
  running.child.kill("SIGTERM");
  await running.waitForStdout(/status 200/);
  assertEquals((await running.waitForEnd()).stderr, "");
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

const CODES = { SIGINT: 130, SIGTERM: 143 } as const;

Deno.test("after a signal, runUntilSignal() ends the process when its function has ended, although a timer and stdin keep it alive", async () => {
  const ok = { code: 0, stdout: "", stderr: "" };
  const rows = [
    ["returns", "SIGINT", { ...ok, stdout: "disposed of\n" }],
    ["sets the code", "SIGTERM", { ...ok, code: 3 }],
    ["throws the reason", "SIGINT", { ...ok, code: CODES.SIGINT }],
    ["throws because of the reason", "SIGTERM", { ...ok, code: CODES.SIGTERM }],
  ] as const;
  for (const [main, name, end] of rows) {
    assertEquals(await endBySignals(main, /ready/, name), end, main);
  }
  const { stderr, ...end } = await endBySignals("throws another error", /ready/, "SIGINT");
  assertMatch(stderr, /Uncaught \(in promise\) Error: the disk is full/);
  assertEquals(end, { code: 1, stdout: "" });
});

for (const name of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`a second ${name} ends a process whose function ignores the signal`, async () => {
    const { stderr, ...end } = await endBySignals("ignores the signal", /ready/, name, name);
    assertEquals([end.code, end.stdout, stderr], [CODES[name], "aborted\n", ""]);
  });
}

Deno.test("when the function has ended without a signal, runUntilSignal() settles as the function, and the next signal ends the process", async () => {
  const rows = [
    ["has ended", "SIGINT", "result 5\n"],
    ["has failed", "SIGTERM", "result Error: no\n"],
  ] as const;
  for (const [main, name, stdout] of rows) {
    const end = await endBySignals(main, /result/, name);
    assertEquals(end, { code: CODES[name], stdout, stderr: "" }, main);
  }
});

Deno.test("runUntilSignal() rejects without a function", async () => {
  const error = await catchRejection(runUntilSignal(5 as never), "a number");
  assertInstanceOf(error, TypeError);
  assertEquals(error.message, "main: must be a function; got number");
});

// ───────────────────────── other processes

// The program of docs/operations.md, and its reaction to the signals of a service manager.

/** The line of the program that replaces a service manager. */
const OWN_SIGNAL = 'Deno.kill(Deno.pid, "SIGTERM"); // what systemd does; omit this';

/** Returns the code below a heading, with a line that prints when the server listens. */
async function readProgram(heading: string): Promise<string> {
  const page = await readProjectFile("docs/operations.md");
  const [, code = ""] = /```ts\n([^]*?)```/.exec(page.slice(page.indexOf(heading))) ?? [];
  assert(code.includes(OWN_SIGNAL), "the program of the page is another one");
  return code.replace(OWN_SIGNAL, 'console.log("ready");');
}

Deno.test({
  name: "SIGHUP reloads the files or keeps the current context, and SIGTERM shuts down gracefully",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using dir = await createTempDir();
    const flags = [
      "--allow-net=127.0.0.1",
      `--allow-read=${dir.path}`,
      `--allow-write=${dir.path}`,
    ];
    const script = await readProgram("## Signals");
    await using running = new RunningProcess(
      await spawnScript(script, flags, { TMPDIR: dir.path }),
    );
    const { child } = running;
    await running.waitForStdout(/ready/);

    child.kill("SIGHUP");
    await running.waitForStdout(/loaded again/);

    const files = Object.entries(await readTree(dir.path)).filter(([, text]) => text !== null);
    assert(files.length >= 3, "the page makes certificates below TMPDIR");
    await fill(dir.path, Object.fromEntries(files.map(([path]) => [path, "no certificate"])));
    child.kill("SIGHUP");
    await running.waitForStderr(/stay in force/);

    await fill(dir.path, Object.fromEntries(files));
    child.kill("SIGHUP");
    await running.waitForStdout(/loaded again/);

    child.kill("SIGTERM");
    assertEquals((await running.waitForEnd()).success, true);
  },
});

// Few file descriptors, in a separate process.

/** Runs the appended command with few file descriptors. */
const FEW_DESCRIPTORS = ["bash", "-c", 'ulimit -n 90 && exec "$0" "$@"'];

Deno.test("a server that runs out of file descriptors continues, and accepts again", async (t) => {
  const pki = await openSharedPki();
  await using dir = await createTempDir();
  const { serverSslconfig, clientSslconfig } = pki;
  const trust = { serverSslconfig, clientSslconfig };
  const tcp = ["127.0.0.1", 0];
  const rows = {
    "a port": { address: tcp },
    "a path": { address: join(dir.path, "plain") },
    "a port, over TLS": { address: tcp, trust },
    "a path, over TLS": { address: join(dir.path, "tls"), trust },
  };
  const permissions = ["--allow-net", "--allow-read", `--allow-write=${dir.path}`];
  const output = await runProgram("few_descriptors.ts", {
    flags: permissions,
    args: [JSON.stringify(Object.values(rows))],
    through: FEW_DESCRIPTORS,
  });
  for (const [i, result] of JSON.parse(output).entries()) {
    const name = Object.keys(rows)[i]!;
    await t.step(name, () => {
      const { opened, answered, status, warnings, errors } = result;
      assert(opened > 5 && opened < 90, `${opened} connections`);
      assertEquals([answered, status, errors], [200, 200, []]);
      // `node:net`, which listens at ports for TLS, emits no event when it has stopped.
      if (name !== "a port, over TLS") assert(warnings > 0, "no warning was logged");
      assert(warnings < 10, `${warnings} warnings`);
    });
  }
});
Deno.test("without a free descriptor each request that needs one gets 503, logged in one line without a stack, and the server works again afterward", async () => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/a`, "hello");
  const output = await runProgram("no_descriptors.ts", {
    flags: ["--allow-net=127.0.0.1", `--allow-read=${dir.path}`, `--allow-write=${dir.path}`],
    args: [dir.path],
    through: FEW_DESCRIPTORS,
  });
  const { before, meanwhile, afterward, lines } = JSON.parse(output);
  const otherStatuses = [...Object.values(before), ...Object.values(afterward)];
  assertEquals(otherStatuses.includes(503) || otherStatuses.includes(0), false, output);
  for (const [name, status] of Object.entries(meanwhile)) {
    // A missing file and an existing directory need no descriptor.
    if (!["a new directory", "a removal"].includes(name)) {
      assertEquals(status, 503, `${name}: ${output}`);
    }
  }
  for (const line of lines) assertEquals(/\n/.test(line), false, line);
});

Deno.test("without a free descriptor a device can't serve and invite, and it can afterward", async () => {
  await using dir = await createTempDir();
  const output = await runProgram("device_without_descriptors.ts", {
    flags: [
      ...["--allow-net=127.0.0.1", "--allow-sys=uid"],
      ...[`--allow-read=${dir.path}`, `--allow-write=${dir.path}`],
    ],
    args: [`${dir.path}/camera`],
    through: FEW_DESCRIPTORS,
  });
  const { meanwhile, afterward } = JSON.parse(output);
  for (const message of Object.values<string>(meanwhile)) assertMatch(message, /too many open/i);
  assertEquals(afterward, { serve: "done", invite: "done" });
});
