/** Transfers that are interrupted, and the connections that they use. */
import { EmptyPreambleError, formatAddress } from "@degu/degu/base";
import type { Connection } from "@degu/degu/client";
import { connectionsTo } from "@degu/internal/agent/peer_connections.ts";
import { AgentFiles, objectsOf, untilFile } from "@degu/testing/agent_files.ts";
import { content, fill } from "@degu/testing/trees.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { entries } from "@degu/testing/directories.ts";
import { untilRefused, within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { randomBytes } from "@degu/testing/transferring.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";

// Transfers that are interrupted: by the network, by a signal, by the other end.

const BYTES = 12_000_000;
const CUT = 6_000_000;

async function setUp() {
  const files = await AgentFiles.start();
  const content = randomBytes(BYTES);
  await Deno.writeFile(`${files.share}/large`, content);
  await Deno.writeFile(`${files.here}/large`, content);
  await Deno.mkdir(`${files.here}/to`);
  // A file gets an entity tag, without which nothing is resumed, after seconds only.
  const clock = setClockAhead();
  const get = ["get", "--json", "camera:large", `${files.here}/to`];
  const put = ["put", "--json", `${files.here}/large`, "camera:"];
  return {
    files,
    cases: [
      { args: get, result: `${files.here}/to/large`, dir: `${files.here}/to` },
      { args: put, result: `${files.inbox}/large`, dir: files.inbox },
    ],
    /** Removes what was moved. */
    clear: async () => {
      for (const path of [`${files.here}/to/large`, `${files.inbox}/large`]) {
        await Deno.remove(path).catch(() => {});
      }
    },
    isWhole: async (path: string) => isSame(await Deno.readFile(path), content),
    [Symbol.asyncDispose]: async () => {
      clock[Symbol.dispose]();
      await files[Symbol.asyncDispose]();
    },
  };
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

Deno.test("interruptions", async (t) => {
  await using test = await setUp();
  await t.step(
    "an interrupted connection is replaced, and the transfer resumes where it stopped",
    async () => {
      await test.clear();
      for (const { args, result } of test.cases) {
        await using relay = new CuttingRelay(test.files.address);
        relay.cutAfter(CUT);
        const address = formatAddress(relay.address);
        await using agent = test.files.start([...args, "--address", address]);
        await agent.message("trying again in 1 s (1 of 3)");
        relay.cutAfter(Infinity);
        const end = await agent.ended();
        assertEquals(end.code, 0, end.stderr);
        const [object] = objectsOf(end);
        const { bytes, total, resumedFrom } = object as Record<string, number>;
        assert(resumedFrom! > 1_000_000, Deno.inspect(object));
        assertEquals([bytes! + resumedFrom!, total], [BYTES, BYTES]);
        assert(await test.isWhole(result));
      }
    },
  );

  await t.step(
    "Ctrl-C keeps what has arrived, says how to resume, and resuming works",
    async () => {
      await test.clear();
      for (const { args, result, dir } of test.cases) {
        {
          await using relay = new CuttingRelay(test.files.address);
          relay.stallAfter(CUT);
          const address = formatAddress(relay.address);
          await using agent = test.files.start([...args, "--address", address]);
          await within(untilFile(dir, (_, size) => size > CUT / 2), "something has arrived", 30);
          agent.kill("SIGINT");
          const { code, stderr } = await agent.ended();
          assertEquals(code, 130);
          assertStringIncludes(stderr, "run the same command again to continue");
        }
        const [object] = objectsOf(await test.files.succeed(...args));
        assert(Number(object?.["resumedFrom"]) > 1_000_000, Deno.inspect(object));
        assert(await test.isWhole(result));
      }
      assertEquals(await entries(`${test.files.here}/to`), ["large"]);
    },
  );

  await t.step("a peer that does not answer is retried for a while", async () => {
    await test.clear();
    const { files } = test;
    await files.kill();
    await using agent = files.start(["get", "camera:large", `${files.here}/to`]);
    await agent.message("trying again in 1 s (1 of 3)");
    await agent.message("trying again in 2 s (2 of 3)");
    await files.serve();
    const { code, stderr } = await agent.ended();
    assertEquals(code, 0, stderr);
    assert(await test.isWhole(`${files.here}/to/large`));
  });
});

const COUNT = 300;

async function setUpFiles() {
  const files = await AgentFiles.start();
  const names = Array.from({ length: COUNT }, (_, i) => [`file-${i}`, "text"]);
  await fill(files.share, Object.fromEntries(names));
  return files;
}

/** Runs a command with its output in a pipeline, and exits as it does. */
function shell(pipeline: string): string[] {
  return ["bash", "-c", `"$@" ${pipeline}; exit \${PIPESTATUS[0]}`, "bash"];
}

Deno.test("transfers end when their output is closed, as by head: no file is to blame", async () => {
  await using files = await setUpFiles();
  const through = shell("| head -n 1");
  await using agent = files.spawnThrough(through, "get", "-r", "camera:", files.here);
  const { code, stdout, stderr } = await agent.ended();
  assertEquals([code, stdout.split("\n").length, stderr], [1, 2, ""]);
  const got = Object.keys(await content(files.here));
  assert(got.length < COUNT, `${got.length}`);
});

Deno.test("an output that can't be written ends transfers with its own error", async () => {
  await using files = await setUpFiles();
  await using agent = files.spawnThrough(shell("> /dev/full"), "get", "-r", "camera:", files.here);
  const { code, stderr } = await agent.ended();
  assertEquals([code, stderr], [1, "degu: error: No space left on device (os error 28)\n"]);
});

// Connections that are used again, and calls that are made again.

const { signal } = new AbortController();

async function statusOf(connection: Connection): Promise<number> {
  const { status, body } = await connection.get("/");
  await body?.bytes();
  return status;
}

Deno.test("there are as many connections as simultaneous calls; one that the server has closed is replaced at once", async () => {
  const sessions = new Set<unknown>();
  await using serving = serve((_request, session) => {
    sessions.add(session);
    return [204, "No Content", {}, null];
  }, { maxRequests: 10 });
  const notes: string[] = [];
  using connections = connectionsTo(
    serving.makeClient(),
    signal,
    (text) => void notes.push(text),
  );
  for (let i = 0; i < 25; i++) assertEquals(await connections.call(statusOf), 204);
  assertEquals(sessions.size, 3);
  await Promise.all(Array.from({ length: 4 }, () => connections.call(statusOf)));
  assertEquals(sessions.size <= 6, true);
  assertEquals(notes, []);
});

Deno.test("a call is retried, and several that fail at the same time are reported once", async () => {
  await using serving = serve(() => [204, "No Content", {}, null]);
  const client = serving.makeClient();
  serving.server.close();
  await serving.done;
  await untilRefused(serving.address);
  const notes: string[] = [];
  const stop = new AbortController();
  const note = (text: string) => {
    notes.push(text);
    stop.abort(new Error("stop"));
  };
  using connections = connectionsTo(client, stop.signal, note);
  const calls = [
    connections.call(statusOf),
    connections.callAnew((client) => client.request("GET", "/")),
  ];
  for (const call of calls) await assertRejects(() => call, Error, "stop");
  assertEquals(notes.length, 1);
  assertEquals(notes[0]?.endsWith("; trying again in 1 s (1 of 3)"), true, notes[0]);
  using once = connectionsTo(client, signal, note, 0);
  await assertRejects(() => once.call(statusOf), Deno.errors.ConnectionRefused);
  assertEquals(notes.length, 1);
});

Deno.test("a silence is reported once, and another one again", async () => {
  const answer = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  await using serving = serve(async () => {
    await answer[0]!.promise;
    answer.shift();
    return [204, "No Content", {}, null];
  });
  const notes: string[] = [];
  const note = (text: string) => {
    notes.push(text);
    answer[0]!.resolve();
  };
  using connections = connectionsTo(serving.makeClient(), signal, note, 0, 100);
  for (let i = 0; i < 2; i++) assertEquals(await connections.call(statusOf), 204);
  assertEquals(notes, Array(2).fill("nothing has arrived for 0.1 s; still waiting"));
  // No timer is left: the sanitizer would find it.
});

Deno.test("a connection is not reused after an error", async () => {
  await using serving = serve(() => [204, "No Content", {}, null]);
  using connections = connectionsTo(serving.makeClient(), signal, () => {});
  let first: Connection | null = null;
  await assertRejects(
    () =>
      connections.call((connection) => {
        first = connection;
        return Promise.reject(new Error("no"));
      }),
    Error,
    "no",
  );
  assertEquals((first as Connection | null)?.closed, true);
  assertEquals(await connections.call(statusOf), 204);
});

Deno.test("a peer that hangs up twice in a row has refused; one that hangs up once has only ended a connection", async () => {
  let hangUps = Infinity;
  let sessions = 0;
  const app = () => [204, "No Content", {}, null] as const;
  const onConnect = () => ++sessions > hangUps;
  await using serving = serve({ handle: app, onConnect });
  const notes: string[] = [];
  const note = (text: string) => void notes.push(text);
  using connections = connectionsTo(serving.makeClient(), signal, note);
  await assertRejects(() => connections.call(statusOf), EmptyPreambleError);
  assertEquals([sessions, notes.length], [2, 1]);
  [hangUps, sessions] = [1, 0];
  assertEquals(await connections.call(statusOf), 204);
  // Between the two something has been moved.
  [hangUps, sessions] = [2, 0];
  const moving = async (connection: Connection, moved: () => void) => {
    if (sessions === 2) moved();
    return await statusOf(connection);
  };
  using others = connectionsTo(serving.makeClient(), signal, note);
  assertEquals(await others.call(moving), 204);
  assertEquals(sessions, 3);
});

Deno.test("a peer whose slots are all taken hangs up later, which is no refusal", async () => {
  await using serving = serve(() => [204, "No Content", {}, null], { maxConnections: 1 });
  const client = serving.makeClient();
  using busy = await client.connect();
  assertEquals(await statusOf(busy), 204);
  const stop = new AbortController();
  const notes: string[] = [];
  const note = (text: string) => {
    if (notes.push(text) === 2) stop.abort(new Error("stop"));
  };
  using connections = connectionsTo(client, stop.signal, note);
  await assertRejects(() => connections.call(statusOf), Error, "stop");
  assertEquals(notes.map((text) => text.slice(text.indexOf(";"))), [
    "; trying again in 1 s (1 of 3)",
    "; trying again in 2 s (2 of 3)",
  ]);
});
