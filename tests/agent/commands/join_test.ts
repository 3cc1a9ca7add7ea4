/** degu join: the line as it is pasted, and whom it pairs with. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { readLine } from "@degu/internal/agent/commands/join.ts";
import { Failure } from "@degu/internal/agent/failure.ts";
import { Output } from "@degu/internal/agent/output.ts";
import { AgentHomes, runAgent } from "@degu/testing/agents.ts";
import { TestDevices } from "@degu/testing/device_pairs.ts";
import { networkObstacle, THROUGH_NAMESPACE } from "@degu/testing/network_namespace.ts";

const why = await networkObstacle();

const SERVING = ["--serving", "127.0.0.1:2"];

/** An invitation of a device, and its line. */
async function invite(homes: AgentHomes, name: string) {
  const args = ["invite", "--listen", "127.0.0.1:0", "--serving", "127.0.0.1:1"];
  const agent = homes.start(name, args);
  return { agent, line: await agent.line("degu:") };
}

Deno.test("a line may arrive on stdin in pieces, and a second device is refused", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera", "viewer", "other");
  const { agent, line } = await invite(homes, "camera");
  const wrapped = line.replaceAll(/(.{60})/g, "$1\n  ");
  await homes.must("viewer", ["join", "-", ...SERVING, "--as", "door"], wrapped);
  assertEquals((await agent.ended()).code, 0);
  assertEquals(JSON.parse(await homes.must("viewer", ["peers", "--json"])).name, "door");
  const late = await homes.run("other", ["join", line, ...SERVING]);
  assertEquals([late.code, late.stdout], [3, ""]);
  assertStringIncludes(late.stderr, "another device has used it");
});

Deno.test("a device that joins with its own line gets an error that says so", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera");
  const { line } = await invite(homes, "camera");
  const { code, stderr } = await homes.run("camera", ["join", line, ...SERVING]);
  assertEquals(code, 2);
  assertStringIncludes(stderr, "it is from this device itself");
});

Deno.test("text that is not a line and an incomplete line cause different errors", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera", "viewer");
  const { line } = await invite(homes, "camera");
  const rows = [
    ["hello", "must be the line of an invitation"],
    [line.slice(0, -9), "it is garbled"],
    [line.replace("degu:A", "degu:B"), "it is garbled"],
  ] as const;
  for (const [text, expected] of rows) {
    for (const [argument, stdin] of [[text, ""], ["-", `${text}\n\n`]] as const) {
      const { code, stderr } = await homes.run("viewer", ["join", argument, ...SERVING], {
        stdin,
      });
      assertEquals(code, 2);
      assertStringIncludes(stderr, expected);
    }
  }
  const empty = await homes.run("viewer", ["join", "-", ...SERVING]);
  assertEquals(empty.code, 2);
  assertStringIncludes(empty.stderr, "stdin is empty");
});

Deno.test({
  name: why === null
    ? "where no address of the line can be reached, nobody has refused"
    : `a line out of reach: left out, no network namespace can be made here (${why})`,
  ignore: why !== null,
  fn: async () => {
    await using homes = await AgentHomes.create();
    await homes.init("camera", "viewer");
    const { line } = await invite(homes, "camera");
    // A namespace in which no interface is up, not even the loopback one.
    const { code, stderr } = await runAgent([
      "--home",
      homes.at("viewer"),
      "join",
      line,
      ...SERVING,
    ], {
      flags: homes.flags("viewer", "--allow-net=127.0.0.1"),
      through: THROUGH_NAMESPACE,
    });
    assertEquals(code, 1, stderr);
    assertStringIncludes(stderr, "can't be reached at an address of the line");
  },
});

Deno.test("pairing a device again keeps its name", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera", "viewer");
  await homes.pair("camera", "viewer", "127.0.0.1:1");
  await homes.must("viewer", ["rename", "camera", "door"]);
  await homes.pair("camera", "viewer", "127.0.0.1:3");
  const { name, addresses } = JSON.parse(await homes.must("viewer", ["peers", "--json"]));
  assertEquals([name, addresses], ["door", ["127.0.0.1:3"]]);
});

Deno.test("waiting for the rest of the line can be interrupted", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("viewer");
  const joining = homes.start("viewer", ["join", "-", ...SERVING], { stdin: null });
  joining.feed("degu:AAAA\n");
  await joining.message("the line is incomplete");
  joining.kill("SIGINT");
  assertEquals((await joining.ended()).code, 130);
});

/** An output whose stdin this is. */
function outputWith(readable: ReadableStream<Uint8Array>): Output {
  const { stdout, stderr, noColor, consoleSize } = Deno;
  const stdin = { readable, isTerminal: () => false };
  const streams = { stdin, stdout, stderr, noColor, consoleSize };
  return new Output({ json: false, quiet: true, streams });
}
const NEVER = new AbortController().signal;

/** An input that gives pieces, and then ends or waits. */
function input(pieces: readonly string[], ends: boolean): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece));
      if (ends) controller.close();
    },
  });
}

/** The line of an invitation. */
async function invitationLine(): Promise<string> {
  await using devices = await TestDevices.create();
  const camera = await devices.open("camera");
  await using invitation = await camera.invite({ listen: [["127.0.0.1", 0]] });
  return invitation.line;
}

Deno.test("a line ends when it is complete, at an empty line, or at the end of the input", async () => {
  const line = await invitationLine();
  const half = line.slice(0, 300);
  const rest = line.slice(300);
  const rows: [pieces: string[], ends: boolean, expected: string][] = [
    [[`${line}\n`], false, line],
    [[`${half}\n`, ` ${rest}\n`], false, `${half}\n ${rest}`],
    [[half, rest, "\n"], false, line],
    [[line], true, line],
    [[`${half}\n`, "\n"], false, half],
    [["hello\n"], false, "hello"],
  ];
  for (const [pieces, ends, expected] of rows) {
    assertEquals(await readLine(outputWith(input(pieces, ends)), NEVER), expected);
  }
});

Deno.test("an empty or endless line is refused", async () => {
  const rows: [pieces: string[], ends: boolean, expected: string][] = [
    [[], true, "stdin is empty"],
    [["\n"], false, "stdin is empty"],
    [[" \n \n"], false, "stdin is empty"],
    [["degu:", "A".repeat(65_536)], false, "not the line of an invitation"],
  ];
  for (const [pieces, ends, expected] of rows) {
    const error = await assertRejects(
      () => readLine(outputWith(input(pieces, ends)), NEVER),
      Failure,
      expected,
    );
    assertEquals(error.exitCode, 2);
  }
});

Deno.test("a signal aborts reading a line, and cancels the input", async () => {
  const controller = new AbortController();
  const reason = new Error("interrupted");
  let cancelled = false;
  const waiting = new ReadableStream<Uint8Array>({ cancel: () => void (cancelled = true) });
  const reading = readLine(outputWith(waiting), controller.signal);
  controller.abort(reason);
  const error = await assertRejects(() => reading);
  assertEquals([error, cancelled], [reason, true]);
});
