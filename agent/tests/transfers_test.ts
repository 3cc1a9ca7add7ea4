/** Transfers that are interrupted or move files, and the connections that they use. */
import { ConnectionError, EmptyPreambleError, formatAddress } from "@degu/degu/base";
import { type App, routes } from "@degu/degu";
import { Device } from "@degu/degu/device";
import type { ConnectionPool } from "@degu/degu/client";
import { deleteEntry, FilesApp } from "@degu/degu/files";
import type { ResponseTuple, ServerOptions } from "@degu/degu/server";
import { PeerConnections } from "@degu/internal/agent/peer/peer_connections.ts";
import { AgentFiles, parseObjects } from "./agent_files.ts";
import { runAgentCommands } from "@degu/testing/agents.ts";
import { findMountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { fill, listNames, readTree, waitForFile } from "@degu/testing/directories.ts";
import {
  setClockAhead,
  skipPauses,
  speedUpTimeouts,
  stopPerformanceClock,
} from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { waitUntilRefused, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { randomBytes } from "@degu/testing/transferring.ts";
import { Buffer } from "node:buffer";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { HAS_LINKS, makeLinks } from "@degu/testing/special_files.ts";
import { dirname } from "@degu/internal/internal/paths.ts";
import fc from "fast-check";

// Transfers that are interrupted by the network, by a signal, or by the peer.

const IS_OFF =
  /^degu: error: camera does not answer \(127\.0\.0\.1:\d+: no program listens\): run "degu serve" on camera\n$/;
const BYTES = 6_000_000, CUT = 3_000_000;
const MEBIBYTE = 1024 * 1024;

Deno.test("interruptions", async (t) => {
  await using files = await AgentFiles.start();
  const { share, inbox, local } = files;
  const content = Buffer.from(randomBytes(BYTES));
  for (const dir of [share, local]) await Deno.writeFile(`${dir}/large`, content);
  const to = `${local}/to`;
  await Deno.mkdir(to);
  // Resuming needs an entity tag, which a file has only some seconds after its last change.
  using _clock = setClockAhead();
  const putArgs = ["put", "--json", `${local}/large`, "camera:"];
  const cases = [[["get", "--json", "camera:large", to], to], [putArgs, inbox]] as const;
  const isWhole = async (dir: string) => content.equals(await Deno.readFile(`${dir}/large`));
  const startThroughRelay = (
    relay: CuttingRelay,
    args: readonly string[],
    onText = (_to: string, _text: string) => {},
  ) => files.start([...args, "--address", formatAddress(relay.address)], { onText });
  const arrives = (dir: string) =>
    withTimeout(waitForFile(dir, (_, size) => size > CUT / 2), "something has arrived");
  const step = (name: string, fn: () => Promise<void>) =>
    t.step(name, async () => {
      for (const dir of [to, inbox]) await Deno.remove(`${dir}/large`).catch(() => {});
      await fn();
    });

  await step("a connection that breaks off is replaced, and the transfer resumes", async () => {
    using pauses = skipPauses();
    for (const [args, dir] of cases) {
      await using relay = new CuttingRelay(files.address);
      relay.cutAfter(CUT);
      await using agent = startThroughRelay(relay, args, (_to, text) => {
        if (text.includes("trying again")) relay.cutAfter(Infinity);
        pauses.note(text);
      });
      const note = await agent.waitForMessage("trying again in 1 s (1 of 3)");
      assertMatch(note, /^(the connection to camera|camera closed the connection) /);
      const end = await agent.waitForEnd();
      assertEquals(end.code, 0, end.stderr);
      const [object] = parseObjects(end);
      const { bytes, total, resumedFrom } = object as Record<string, number>;
      assert(resumedFrom! > 1_000_000, Deno.inspect(object));
      assertEquals([bytes! + resumedFrom!, total], [BYTES, BYTES]);
      assert(await isWhole(dir));
    }
  });

  await step("Ctrl-C keeps what has arrived, and the same command resumes", async () => {
    for (const [args, dir] of cases) {
      {
        await using relay = new CuttingRelay(files.address);
        relay.stallAfter(CUT);
        await using agent = startThroughRelay(relay, args);
        await arrives(dir);
        agent.kill("SIGINT");
        const { code, stderr } = await agent.waitForEnd();
        assertEquals(code, 130, stderr);
      }
      const end = await files.runToSuccess(...args);
      assert(Number(parseObjects(end)[0]?.["resumedFrom"]) > 1_000_000, end.stdout);
      assertMatch(end.stderr, /1 file copied, .* \(\d\.\d\d MB were there\)\n/);
      assert(await isWhole(dir));
    }
    assertEquals(await listNames(to), ["large"]);
  });

  await step("a peer that is off is said at once; --wait waits for it, quietly", async () => {
    await files.kill();
    const getArgs = ["get", "camera:large", to];
    const { code: codeAtOnce, stderr: error } = await files.run(...getArgs, "--no-find");
    assertEquals(codeAtOnce, 1);
    assertMatch(error, IS_OFF);
    const paused = Promise.withResolvers<void>();
    const isPause = (milliseconds: number) => milliseconds === 2000;
    using _pauses = speedUpTimeouts((milliseconds) => {
      if (isPause(milliseconds)) paused.resolve();
      return isPause(milliseconds);
    });
    await using agent = files.start([...getArgs, "--wait", "60"]);
    await paused.promise;
    await files.serve();
    const { code, stderr } = await agent.waitForEnd();
    assertEquals(code, 0, stderr);
    assertMatch(stderr, /^1 file copied, [^\n]*\n$/);
    assert(await isWhole(to));
  });

  await step("a peer that is away in the middle of a transfer is waited for, too", async () => {
    for (const [args, dir] of cases) {
      const paused = Promise.withResolvers<void>();
      const relay = new CuttingRelay(files.address);
      relay.stallAfter(CUT);
      using _pauses = speedUpTimeouts((milliseconds) => {
        if (milliseconds === 2000) paused.resolve();
        return milliseconds === 2000;
      });
      await using agent = startThroughRelay(relay, [...args, "--wait", "60"]);
      await arrives(dir);
      await relay[Symbol.asyncDispose]();
      await paused.promise;
      await using _again = new CuttingRelay(files.address, Number(relay.address[1]));
      const end = await agent.waitForEnd();
      assertEquals(end.code, 0, end.stderr);
      assert(!end.stderr.includes("trying again"), end.stderr);
      assert(Number(parseObjects(end)[0]?.["resumedFrom"]) > 1_000_000);
      assert(await isWhole(dir));
    }
  });

  await step("--wait also bounds the time after a peer has left in the middle", async () => {
    await Deno.mkdir(`${local}/only`, { recursive: true });
    await Deno.writeFile(`${local}/only/large`, content);
    const ways = [cases[0], [["sync", `${local}/only`, "camera:"], inbox]] as const;
    for (const [args, dir] of ways) {
      for (const each of [to, inbox]) await Deno.remove(`${each}/large`).catch(() => {});
      const relay = new CuttingRelay(files.address);
      relay.stallAfter(CUT);
      let pauseCount = 0;
      using clock = stopPerformanceClock();
      using _timeouts = speedUpTimeouts((milliseconds) => {
        // The library also pauses for two seconds, before a second retry.
        const isReconnect = new Error().stack!.includes("/agent/peer/peer_connections.ts");
        if (milliseconds !== 2000 || !isReconnect) return false;
        clock.pass(2);
        return ++pauseCount > 0;
      }, Infinity);
      await using agent = startThroughRelay(relay, [...args, "--wait", "4"]);
      await arrives(dir);
      await relay[Symbol.asyncDispose]();
      const { code, stderr } = await agent.waitForEnd();
      assertEquals([code, pauseCount], [1, 2], `${args}: ${stderr}`);
    }
    await Deno.remove(`${local}/only`, { recursive: true });
  });

  await step("a peer that forgets this device refuses the rest, and shows nothing", async () => {
    await using relay = new CuttingRelay(files.address);
    relay.stallAfter(CUT);
    await using agent = startThroughRelay(relay, putArgs);
    await arrives(inbox);
    await files.homes.runToSuccess("camera", ["forget", "viewer"]);
    const { code, stderr } = await agent.waitForEnd();
    assertEquals(code, 3, stderr);
    // The connection may end before the refusal has arrived.
    assertMatch(stderr, /does not trust this device any more|missing in "degu peers" on camera/);
    // The same command would be refused again.
    assert(!stderr.includes("run the same command again"), stderr);
    assert(!(await listNames(inbox)).includes("large"));
  });
});

// Several named files, one of which fails.

Deno.test("after the loss of a peer, the command ends with a summary and exit code 1", async () => {
  await using files = await AgentFiles.start();
  const { local, share } = files;
  using pauses = skipPauses();
  await fill(share, { "a": "1" });
  const large = await Deno.create(`${share}/large`);
  await large.truncate(30_000_000);
  large.close();
  const getArgs = ["get", "camera:a", "camera:large", `${local}/to/`];
  const killed: Promise<void>[] = [];
  await using agent = files.start(getArgs, {
    onText: (to, text) => {
      pauses.note(text);
      if (to === "stdout") killed.push(files.kill());
    },
  });
  const { code, stdout, stderr } = await agent.waitForEnd();
  await Promise.all(killed);
  assertEquals([code, stdout], [1, `${local}/to/a\n`]);
  assertMatch(stderr, /\n1 file copied, .*\ndegu: error: camera:large: /);
});

Deno.test("put --force reports a file of the same size as copied if the response was lost", async () => {
  await using files = await AgentFiles.start();
  const { inbox, local } = files;
  await files.kill();
  const inboxApp = new FilesApp(inbox, { list: true, write: true });
  let isLost = false;
  const app = routes({
    "/inbox/": async (request) => {
      const response = await inboxApp.handle(request);
      if (request.method === "PUT" && !isLost) {
        isLost = true;
        relay.closeAll();
      }
      return response;
    },
  });
  await using device = await Device.open(files.homes.joinPath("camera"));
  await using _server = await device.serve(files.address, app);
  await using relay = new CuttingRelay(files.address);
  const args = ["put", "--force", "--json", "--address", formatAddress(relay.address)];
  for (const content of ["new", "0123456789".repeat(10_000)]) {
    await fill(local, { "f": content });
    await fill(inbox, { "f": content.replaceAll(/./g, "-") });
    isLost = false;
    using pauses = skipPauses();
    await using agent = files.start([...args, `${local}/f`, "camera:"], {
      onText: (_to, text) => pauses.note(text),
    });
    const end = await agent.waitForEnd();
    assertStringIncludes(end.stderr, "trying again in 1 s");
    assertMatch(end.stderr, /^1 file copied/m);
    assertEquals([end.code, parseObjects(end)[0]!["total"]], [0, content.length]);
    assertEquals(await readTree(inbox), { "f": content });
  }
});

Deno.test("--wait ends after its seconds, and reports the tried addresses", async (t) => {
  await using files = await AgentFiles.start();
  await fill(files.local, { "a": "1" });
  await files.kill();
  const { local } = files;
  const rows: [command: string, args: readonly string[]][] = [
    ["put", [`${local}/a`, "camera:"]],
    ["get -r", ["-r", "camera:", local]],
    ["sync", [local, "camera:"]],
  ];
  await testEachRow(t, rows, async (command, args) => {
    const [verb = ""] = command.split(" ");
    using clock = stopPerformanceClock();
    const pauses: number[] = [];
    using _timeouts = speedUpTimeouts((milliseconds) => {
      if (![2000, 1000].includes(milliseconds)) return false;
      clock.pass(milliseconds / 1000);
      return pauses.push(milliseconds) > 0;
    }, Infinity);
    const { code, stderr } = await files.run(verb, ...args, "--no-find", "--wait", "3");
    assertEquals([code, pauses], [1, [2000, 1000]], stderr);
    assertMatch(stderr, IS_OFF);
  });
});

// If the output can't be written, no file has failed.

Deno.test("an output that is closed, as by head, or can't be written, ends transfers", async (t) => {
  await using files = await AgentFiles.start();
  const names = Array.from({ length: 300 }, (_, i) => [`file-${i}`, "text"]);
  await fill(files.share, Object.fromEntries(names));
  const rows: [what: string, error: Error, expectedMessage: RegExp][] = [
    ["closed", new Deno.errors.BrokenPipe(), /^$/],
    [
      "full",
      new Error("No space left"),
      /^\d+ files copied.*\ndegu: error: stdout can't be written: No space left\n$/,
    ],
  ];
  await testEachRow(t, rows, async (what, error, expectedMessage) => {
    let lines = 0;
    const onText = (to: string) => {
      if (to === "stdout" && ++lines === 2) throw error;
    };
    const target = `${files.local}/${what}`;
    const getArgs = ["get", "-r", "--verbose", "camera:", target];
    await using agent = files.start(getArgs, { onText });
    const { code, stderr } = await agent.waitForEnd();
    assertEquals([code, lines], [1, 2]);
    assertMatch(stderr, expectedMessage);
    assert((await listNames(target)).length < names.length);
  });
});

// Reused connections, and repeated calls.

const NO_CONTENT = [204, "No Content", {}, null] as const;

/**
 * Makes a peer with this app, and connections to the peer, which record their notes. The
 * connections end at the note with the number `stopAtNote`.
 */
function setUpCalls(
  app: App = () => NO_CONTENT,
  {
    server = {} as ServerOptions,
    stopAtNote = Infinity,
    onNote = () => {},
    retries = 3,
  } = {},
) {
  const serving = serve(app, server);
  const notes: string[] = [];
  const pauses = skipPauses();
  const stop = new AbortController();
  const note = (text: string) => {
    pauses.note(text);
    if (notes.push(text) === stopAtNote) stop.abort(new Error("stop"));
    onNote();
  };
  const context = { signal: stop.signal, output: { note }, options: {} };
  const connections = new PeerConnections(context, "camera", serving.makeClient(), retries);
  return {
    serving,
    notes,
    connections,
    [Symbol.asyncDispose]: async () => {
      connections[Symbol.dispose]();
      pauses[Symbol.dispose]();
      await serving[Symbol.asyncDispose]();
    },
  };
}

const sendRequest = (pool: ConnectionPool) => deleteEntry(pool, "/");

Deno.test("a call is retried after progress, and simultaneous failures are reported once", async () => {
  await using test = setUpCalls(undefined, { stopAtNote: 1 });
  const { serving, connections, notes } = test;
  const { signal } = new AbortController();
  const client = serving.makeClient();
  const output = { note: (text: string) => void notes.push(text) };
  const context = { signal, output, options: {} };
  using once = new PeerConnections(context, "camera", client, 0);
  using late = new PeerConnections(context, "camera", client);
  for (const each of [connections, once]) await each.call(sendRequest);
  serving.server.close();
  await serving.done;
  await waitUntilRefused(serving.address);
  const calls = [
    connections.call(sendRequest),
    connections.call((client) => client.request("GET", "/")),
  ];
  await Promise.all(calls.map((call) => assertRejects(() => call, Error, "stop")));
  assertEquals(notes.length, 1);
  assertEquals(notes[0]?.endsWith("; trying again in 1 s (1 of 3)"), true, notes[0]);
  for (const each of [once, late]) {
    const error = await assertRejects(() => each.call(sendRequest), ConnectionError);
    assertEquals(error.fault, "refused");
  }
  assertEquals(notes.length, 1);
});

Deno.test("--wait counts from the first connection that fails, and anew after progress", async () => {
  const serving = serve(() => NO_CONTENT);
  const client = serving.makeClient();
  await serving[Symbol.asyncDispose]();
  await waitUntilRefused(serving.address);
  let pauseCount = 0;
  using clock = stopPerformanceClock();
  using _timeouts = speedUpTimeouts((milliseconds) => {
    if (milliseconds !== 2000) return false;
    clock.pass(2);
    return ++pauseCount > 0;
  }, Infinity);
  const { signal } = new AbortController();
  const context = { signal, output: { note: () => {} }, options: { wait: 4 } };
  using connections = new PeerConnections(context, "camera", client);
  for (const [makesProgress, expectedPauses] of [[false, 2], [false, 2], [true, 4]] as const) {
    if (makesProgress) await connections.call(() => Promise.resolve());
    await assertRejects(() => connections.connect(), ConnectionError);
    assertEquals(pauseCount, expectedPauses);
  }
});

Deno.test("a peer that closes two connections in a row has refused; a peer that closes one connection has not", async () => {
  let hangUps = Infinity;
  let sessions = 0;
  await using test = setUpCalls({
    handle: () => NO_CONTENT,
    onConnect: () => ++sessions > hangUps,
  });
  const { connections, notes } = test;
  await assertRejects(() => connections.call(sendRequest), EmptyPreambleError);
  assertEquals([sessions, notes.length], [2, 1]);
  [hangUps, sessions] = [1, 0];
  await connections.call(sendRequest);
});

Deno.test("a peer without a free slot closes the connection later, which is not a refusal", async () => {
  // A server closes a connection that has waited for a slot for twice its time-out.
  const options = { server: { maxConnections: 1, timeout: 1 }, stopAtNote: 2 };
  const requestReceived = Promise.withResolvers<void>();
  const responseAllowed = Promise.withResolvers<ResponseTuple>();
  await using test = setUpCalls(() => {
    requestReceived.resolve();
    return responseAllowed.promise;
  }, options);
  using busy = await test.serving.makeClient().connect();
  const response = busy.get("/");
  await withTimeout(requestReceived.promise, "the first request");
  await assertRejects(() => test.connections.call(sendRequest), Error, "stop");
  responseAllowed.resolve([204, "No Content", {}, null]);
  await response;
  assertEquals(test.notes.map((text) => text.slice(text.indexOf(";"))), [
    "; trying again in 1 s (1 of 3)",
    "; trying again in 2 s (2 of 3)",
  ]);
});

/** Without this option, files that tests have just written count as being written. */
const AHEAD = 10_000;

Deno.test("a dry run of sync --move tells the files that the peer has", async () => {
  await using files = await AgentFiles.start();
  const { local, inbox } = files;
  using _clock = setClockAhead(AHEAD);
  await fill(local, { "a": "1", "b": "2" });
  await fill(inbox, { "out/a": "1", "out/b": "3" });
  const { mtime } = await Deno.stat(`${local}/a`);
  await Deno.utime(`${inbox}/out/a`, mtime!, mtime!);
  await Deno.utime(`${inbox}/out/b`, 0, 0);
  const { stdout, stderr } = await files.runToSuccess("sync", "-n", "--move", local, "camera:out");
  const lines = stdout.split("\n").map((line) => /\/(\w) to .*(\(.*\))$/.exec(line)?.slice(1));
  assertEquals(lines.slice(0, 2), [["a", "(there already, 1 B)"], ["b", "(changed, 1 B)"]]);
  assertStringIncludes(stderr, "2 files would be copied into camera:out, 2 B (1 B were there);");
});

Deno.test("sync --move keeps excluded files, and the ignore list", async () => {
  await using files = await AgentFiles.start();
  const { local, inbox } = files;
  using _clock = setClockAhead(AHEAD);
  const out = { ".deguignore": "*.keep\n", "a": "1", "b.keep": "2", "d/c": "3", "d/e.tmp": "4" };
  await fill(local, out);
  await fill(inbox, { "out/old": "5" });
  const syncArgs = ["sync", "--move", "--exclude", "*.tmp", local, "camera:out"];
  const dry = await files.runToSuccess(...syncArgs, "--dry-run");
  assertStringIncludes(dry.stderr, "2 files would be copied");
  assertEquals(await readTree(local), { ...out, "d": null });
  for (const moved of ["2 files copied into camera:out, 2 B", "no file to copy"]) {
    assertStringIncludes((await files.runToSuccess(...syncArgs)).stderr, moved);
    const { a: _a, "d/c": _c, ...left } = out;
    assertEquals(await readTree(local), { ...left, "d": null });
    assertEquals(await readTree(`${inbox}/out`), { "a": "1", "d": null, "d/c": "3", "old": "5" });
  }
  const downloadArgs = ["sync", "--move", "camera:", `${local}/new`];
  const direction = "--move removes files of this device: write DIR PEER:DIR\n";
  await files.runToFailure(2, direction, ...downloadArgs);
});

// Random trees, with interruptions, compared with a model.

/** Paths. A file of one tree may have the path of a directory of another tree. */
const PATHS = ["a", "b", "d", "d/a", "d/b", "d/e/f", "e", "e/a", "x y", "é", ".hidden", "z.tmp"];
const KINDS = ["same", "other", "nothing", "there alone"] as const;
const SIZES = [0, 1, 1000, 70_000, 300_000];

const trees = fc.record({
  entries: fc.uniqueArray(
    fc.record({
      path: fc.constantFrom(...PATHS),
      kind: fc.constantFrom(...KINDS),
      size: fc.constantFrom(...SIZES),
      isLink: fc.integer({ max: 9, min: 0 }).map((n) => HAS_LINKS && n === 0),
    }),
    { selector: ({ path }) => path, minLength: 1, maxLength: PATHS.length },
  ),
  interruption: fc.constantFrom("none", "signal", "cut", "cut"),
  after: fc.integer({ min: 1, max: 12 }),
});

type Entry = { path: string; kind: typeof KINDS[number]; size: number; isLink: boolean };

/** Returns the files of both trees, without paths below a file of the same tree. */
function filesOf({ entries }: { entries: readonly Entry[] }) {
  const [source, target]: Record<string, string>[] = [{}, {}];
  const links: string[] = [];
  const put = (tree: Record<string, string>, path: string, text: string) => {
    const isFree = [...Object.keys(tree), ...links].every((each) =>
      !each.startsWith(`${path}/`) && !path.startsWith(`${each}/`)
    );
    if (isFree) tree[path] = text;
    return isFree;
  };
  for (const { path, kind, size, isLink } of entries) {
    const text = `${path}|`.repeat(size).slice(0, size);
    if (isLink) {
      if (put(source!, path, "") && delete source![path]) links.push(path);
    } else if (kind !== "there alone") put(source!, path, text);
    if (kind === "same") put(target!, path, text);
    if (kind === "other" || kind === "there alone") put(target!, path, `other ${path}`);
  }
  return { source: source!, target: target!, links };
}

const textsIn = async (dir: string) =>
  Object.entries(await readTree(dir)).filter((each): each is [string, string] => each[1] !== null);

Deno.test("--move, in random trees and interrupted: each file is unchanged at the source or the target, and other files of the target stay", async () => {
  await using files = await AgentFiles.start();
  using _clock = setClockAhead(AHEAD);
  using pauses = skipPauses();
  let interrupted = 0, moved = 0;
  const combinations: string[] = [];
  const property = fc.asyncProperty(trees, async (given) => {
    const name = `tree${combinations.push(given.interruption)}`;
    const [local, remote] = [`${files.local}/${name}`, `${files.inbox}/${name}`];
    const { source, target, links } = filesOf(given);
    for (const dir of [local, remote]) await Deno.mkdir(dir);
    await fill(local, source);
    await fill(remote, target);
    for (const path of links) {
      await fill(local, { [dirname(path)]: null });
      await makeLinks({ [`${local}/${path}`]: "/nowhere" });
    }
    const { interruption, after } = given;
    const isMeant = (path: string) => path !== "z.tmp";
    const args = ["sync", "--exclude", "*.tmp", local, `camera:${name}`];
    for (const isFirst of [true, false]) {
      const isFile = ([path]: readonly [string, string]) => !links.includes(path);
      const [ours, theirs] = [(await textsIn(local)).filter(isFile), await textsIn(remote)];
      await using relay = new CuttingRelay(files.address);
      if (isFirst && interruption === "cut") relay.cutAfter(after * 20_000);
      let lines = 0;
      const options = ["--json", "--move", "--address", formatAddress(relay.address)];
      await using agent = files.start([...args, ...options], {
        onText: (to, text) => {
          pauses.note(text);
          if (text.includes("trying again")) relay.cutAfter(Infinity);
          if (!isFirst || interruption !== "signal" || to !== "stdout") return;
          if (++lines === after) agent.kill("SIGINT");
        },
      });
      const end = await agent.waitForEnd();
      if (end.code === 130) interrupted++;
      const localTexts = new Map(await textsIn(local));
      const remoteTexts = new Map(await textsIn(remote));
      for (const [path, text] of ours) {
        const isLocal = localTexts.has(path);
        assertEquals(localTexts.get(path) ?? remoteTexts.get(path), text, `${path} is lost`);
        assert(isLocal || isMeant(path), `${path} was not meant`);
        if (!isLocal) moved++;
        const info = await Deno.stat(`${remote}/${path}`).catch(() => null);
        const isInTheWay = info?.isDirectory === true ||
          theirs.some(([each]) => each.startsWith(`${path}/`) || path.startsWith(`${each}/`));
        if (end.code === 0) assertEquals(isLocal, !isMeant(path), `${path}, ${end.stderr}`);
        else if (end.code === 1) assert(isLocal || !isInTheWay, `${path} was in the way`);
      }
      for (const [path, text] of theirs) {
        const now = remoteTexts.get(path);
        const isReplaced = isMeant(path) && now === new Map(ours).get(path);
        assert(now === text || isReplaced, `${path} there is lost`);
      }
      for (const path of links) assert((await Deno.lstat(`${local}/${path}`)).isSymlink, path);
    }
  });
  await fc.assert(property, { numRuns: 9, seed: 11 });
  assertEquals(new Set(combinations).size, 3, "each interruption");
  assert(interrupted > 0 && moved > 15, `${interrupted} interrupted, ${moved} moved`);
});

Deno.test(
  "get copies as many files to a small disk as fit, although it copies several at the same time",
  ignoreIf(await findMountObstacle()),
  async () => {
    await using files = await AgentFiles.start();
    const { homes, share, local } = files;
    const names = ["a", "b", "c", "d"];
    for (const name of names) {
      await Deno.writeFile(`${share}/${name}`, randomBytes(1.25 * MEBIBYTE));
    }
    const get = ["get", "--json", ...names.map((name) => `camera:${name}`), `${local}/`];
    const script = 'mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@"';
    const commands = [get, get].map((args) => ["--home", homes.joinPath("viewer"), ...args]);
    const ends = await runAgentCommands(commands, [
      ...THROUGH_MOUNT_NAMESPACE,
      ...["sh", "-c", script, local],
    ]);
    const outcomes = ends.map((end) => {
      const objects = parseObjects(end);
      const errors = objects.flatMap(({ error }) => error === undefined ? [] : [error]);
      assert(errors.every((error) => (error as { code: string }).code === "FULL"), end.stdout);
      return { code: end.code, objects: objects.length, errors: errors.length };
    });
    assertEquals(outcomes, [{ code: 1, objects: 4, errors: 3 }, {
      code: 1,
      objects: 4,
      errors: 3,
    }]);
  },
);
