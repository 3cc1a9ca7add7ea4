/** The output of the standard logger: refusals, and at most one line per second of each kind. */
import { ProxyApp } from "@degu/degu";
import { Body } from "@degu/degu/base";
import {
  type App,
  type LogDetails,
  Server,
  type ServerOptions,
  standardLogger,
} from "@degu/degu/server";
import { createTempDir } from "@degu/testing/directories.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { outsideScriptFlags } from "@degu/testing/programs.ts";
import { exchange, RawPeer, waitForTick } from "@degu/testing/raw_peer.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import { readProjectFile } from "@degu/testing/tree.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { join } from "@std/path";

/** Returns the number of the printed and the withheld lines. */
function countLogged(lines: readonly string[]): number {
  const withheldCounts = lines.map((line) =>
    Number(/\(and (\d+) more of this kind\)$/.exec(line)?.[1] ?? 0)
  );
  return lines.length + withheldCounts.reduce((sum, count) => sum + count, 0);
}

/** Records the lines that are printed to stderr, until disposed of. */
function recordPrintedLines() {
  const lines: string[] = [];
  const { warn, error } = console;
  console.warn = console.error = (line: string) => void lines.push(line);
  return { lines, [Symbol.dispose]: () => void Object.assign(console, { warn, error }) };
}

Deno.test("one line of each kind is printed per second, except other lines of warn and error; the latest withheld line follows a second later, with a count", () => {
  using time = new FakeTime();
  using output = recordPrintedLines();
  const logger = standardLogger();
  const logInfo = (line: string, kind: LogDetails["kind"]) => {
    logger.record("info", line, { kind, who: null, error: undefined });
  };
  const takeLines = () => output.lines.splice(0);
  for (let n = 1; n <= 5; n++) logInfo(`bytes ${n}`, "protocol");
  logInfo("another kind", "slot");
  logger.debug("never");
  assertEquals(takeLines(), ["bytes 1", "another kind"]);
  time.tick(999);
  assertEquals(takeLines(), []);
  time.tick(1);
  assertEquals(takeLines(), ["bytes 5 (and 3 more of this kind)"]);
  // That line also starts its second.
  logInfo("bytes 6", "protocol");
  logInfo("free again", "slot");
  time.tick(999);
  assertEquals(takeLines(), ["free again"]);
  time.tick(1);
  assertEquals(takeLines(), ["bytes 6"]);
  time.tick(1000);
  for (const level of ["warn", "error"] as const) {
    for (let n = 0; n < 3; n++) logger[level](level);
  }
  assertEquals(takeLines(), [...Array(3).fill("warn"), ...Array(3).fill("error")]);
  for (const level of ["warn", "error"] as const) {
    for (let n = 1; n <= 3; n++) {
      logger.record(level, `${level} ${n}`, { kind: "app", who: null, error: undefined });
    }
  }
  assertEquals(takeLines(), ["warn 1", "error 1"]);
  time.tick(1000);
  assertEquals(
    takeLines(),
    ["warn", "error"].map((level) => `${level} 3 (and 1 more of this kind)`),
  );
  time.tick(1000);
  logInfo("bytes 7", "protocol");
  logInfo("bytes 8", "protocol");
  logger[Symbol.dispose]();
  assertEquals(takeLines(), ["bytes 7", "bytes 8"]);
  time.tick(5000);
  assertEquals(takeLines(), []);
});

const GET = "GET / HTTP/1.1\r\n\r\n";

Deno.test("a flood of refused requests prints few lines; options.logger gets all lines", async () => {
  const app: App = () => [200, "OK", {}, null];
  const send = async (server: Server) => {
    for (let n = 0; n < 20; n++) {
      await exchange(server.address, `BREW /${n} HTTP/1.1\r\n\r\n`);
      await exchange(server.address, `PUT /${n} HTTP/1.1\r\ncontent-length: 9\r\n\r\n`);
    }
  };
  using output = recordPrintedLines();
  {
    await using server = await Server.start(["127.0.0.1", 0], app);
    await send(server);
    await exchange(server.address, GET);
  }
  assert(output.lines.length < 12, output.lines.join("\n"));
  assertMatch(output.lines[0]!, /^127\.0\.0\.1:\d+: ProtocolError: unknown method: "BREW"$/);
  assertEquals(countLogged(output.lines), 40);
  output.lines.length = 0;
  const logger = new RecordingLogger();
  await using serving = serve(app, { logger });
  await send(serving.server);
  assertEquals([logger.messagesOf("info").length, output.lines.length], [40, 0]);
});

Deno.test("errors of an app, of its callbacks and of its upstreams print few lines, the first with its stack, and a logger that fails has no effect", async () => {
  using output = recordPrintedLines();
  const fail = () => {
    throw new Error("the application broke");
  };
  await using upstream = serve(() => [200, "OK", {}, new Body(ReadableStream.from([]), 5)]);
  const failOften = async (app: App, options: ServerOptions = {}) => {
    await using server = await Server.start(["127.0.0.1", 0], app, options);
    for (let n = 0; n < 20; n++) {
      // A client that closes its writing side would count as disconnected.
      using peer = await RawPeer.connect(
        server.address,
        "GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
      );
      await peer.readToEnd();
    }
  };
  const rows: [line: RegExp, app: App, options?: ServerOptions][] = [
    [/^127.*an error of the app: Error: the application broke\n +at fail[^]+ for GET "\/"$/, fail],
    [
      /^an error of onExchange: Error: the application broke\n/,
      () => [204, "No Content", {}, null],
      { onExchange: fail },
    ],
    [/^127.*an error of onConnect: Error: the application broke\n/, {
      onConnect: fail,
      handle: () => [204, "No Content", {}, null],
    }],
    [/^127.*the source of a response's body broke off: /, new ProxyApp(upstream.makeClient())],
    [/^127.*the app failed: Error: no descriptor$/, () => {
      throw Object.assign(new Error("no descriptor"), { code: "EMFILE" });
    }],
  ];
  for (const [firstLine, app, options] of rows) {
    await failOften(app, options);
    const lines = output.lines.splice(0);
    assertMatch(lines[0]!, firstLine);
    assert(lines.length < 6, lines.join("\n"));
    assertEquals(countLogged(lines), 20);
  }
  await using server = await Server.start(["127.0.0.1", 0], fail);
  console.error = () => {
    throw new Error("the terminal is gone");
  };
  assertMatch((await exchange(server.address, GET)).received, /^HTTP\/1\.1 500 /);
  await waitForTick();
});

/** Invalid requests of curl, browsers, old proxies and scanners. */
const FORTY: readonly string[] = [
  ...["OPTIONS", "PATCH", "TRACE", "CONNECT", "PROPFIND", "LOCK", "QUERY", "BREW"]
    .map((method) => `${method} /hello HTTP/1.1\r\nhost: a\r\n\r\n`),
  ...["/100%", "/hello%2F", "//hello", "/../etc/passwd", "/hello?a b", "/%2e%2e", "/..;/a", "*"]
    .map((uri) => `GET ${uri} HTTP/1.1\r\nhost: a\r\n\r\n`),
  ...["HTTP/1.3", "HTTP/0.9", "HTTP/2.0", "HTTP/3.0", "HTTP/1.2", "http/1.1", "", "ICY"]
    .map((version) => `GET /hello ${version}\r\nhost: a\r\n\r\n`),
  ...[
    "a(b: c",
    "a: \0",
    "a : b",
    "host: a\r\nhost: a",
    ": b",
    "host: a b",
    "a: b\r\n c",
    "range: bytes=5-2",
  ]
    .map((line) => `GET /hello HTTP/1.1\r\n${line}\r\n\r\n`),
  ...["content-length: 5\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n1\r\nx\r\n"]
    .map((headerLines) => `GET /hello HTTP/1.1\r\n${headerLines}`),
  ...["content-length: 5\r\n\r\nhello", "content-length: +5\r\n\r\nhello"]
    .map((headerLines) => `POST /hello HTTP/1.1\r\n${headerLines}`),
  ...["\x16\x03\x01\x02\x00\x01", "SSH-2.0-OpenSSH_9.9\r\n", "\0\0\0\0"],
  `GET / HTTP/1.1\r\na: ${"b".repeat(40_000)}\r\n\r\n`,
];

Deno.test("README's first server prints the reasons why it refused forty requests", async () => {
  assertEquals(FORTY.length, 40);
  const [, helloCode = ""] =
    /^`hello\.ts`:\n+```ts\n(.*?)^```$/ms.exec(await readProjectFile("README.md")) ?? [];
  await using dir = await createTempDir();
  const port = await findUnusedPort();
  await Deno.writeTextFile(join(dir.path, "hello.ts"), helloCode.replaceAll("8080", `${port}`));
  const flags = ["--quiet", "--no-prompt", `--allow-net=127.0.0.1:${port}`];
  const args = ["run", ...flags, ...outsideScriptFlags(), join(dir.path, "hello.ts")];
  const options = { args, env: { NO_COLOR: "1" }, stdout: "piped", stderr: "piped" } as const;
  const child = new Deno.Command(Deno.execPath(), options).spawn();
  await using server = new RunningProcess(child);
  const address = ["127.0.0.1", port] as const;
  while (!await exchange(address, GET).then(() => true, () => false));
  for (const sent of FORTY) await exchange(address, sent);
  child.kill("SIGINT");
  const { stderr } = await server.waitForEnd();
  const lines = stderr.trimEnd().split("\n");
  assertEquals(countLogged(lines), 40, stderr);
  assertMatch(lines[0]!, /^127\.0\.0\.1:\d+: ProtocolError: unknown method: "OPTIONS"$/);
  for (const line of lines) {
    assertMatch(line, /^127\.0\.0\.1:\d+: (ProtocolError: |ended after the body of a request was)/);
    assert(line.length < 250, line);
  }
});
