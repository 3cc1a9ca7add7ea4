/** What people see of `degu invite` and `degu join` on a terminal. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { agentCommand, AgentHomes, spawnAgent } from "@degu/testing/agents.ts";
import { screenOf } from "@degu/testing/screen.ts";
import { hasTerminals, runOnTerminal } from "@degu/testing/terminals.ts";

const isThere = await hasTerminals();
const PTY = fromFileUrl(new URL("../../support/programs/pseudo_terminal.py", import.meta.url));
const NET = "--allow-net=127.0.0.1";
const INVITE = ["invite", "--listen", "127.0.0.1:0", "--serving", "127.0.0.1:1", "--seconds"];

/** Defines a test that needs a terminal. */
function test(name: string, fn: (homes: AgentHomes) => Promise<void>): void {
  Deno.test({
    name: isThere ? name : `${name}: left out, as python3 is not installed`,
    ignore: !isThere,
    fn: async () => {
      await using homes = await AgentHomes.create();
      await homes.init("camera");
      await fn(homes);
    },
  });
}

/** The command of a device. */
function commandOf(homes: AgentHomes, args: readonly string[]): string[] {
  const flags = homes.flags("camera", NET);
  return agentCommand(["--home", homes.at("camera"), ...args], flags);
}

test("an invitation counts down, and clears the line; its error is red", async (homes) => {
  const { code, shown } = await runOnTerminal({ command: commandOf(homes, [...INVITE, "2"]) });
  assertEquals(code, 1);
  for (const left of ["0:02", "0:01"]) {
    assertStringIncludes(shown, `\r\x1b[Kwaiting for the other device: ${left} left`);
  }
  assertStringIncludes(shown, "\r\x1b[Kdegu: \x1b[31merror\x1b[0m: nobody has joined");
});

test("who has joined has a line without the countdown", async (homes) => {
  const [viewer] = await homes.init("viewer");
  await using invite = spawnAgent(["--home", homes.at("camera"), ...INVITE, "60"], {
    flags: homes.flags("camera", NET),
    through: ["python3", PTY, "2000"],
  });
  const line = await invite.line("degu:");
  await homes.must("viewer", ["join", "-", "--serving", "127.0.0.1:2"], [NET], line);
  const { stdout } = await invite.ended();
  assertEquals(screenOf(stdout).at(-1), `paired with viewer ${viewer}`);
});

test("a line that is pasted in pieces is asked for only when no more comes", async (homes) => {
  await homes.init("viewer");
  const invite = homes.spawn("camera", [...INVITE, "60"], [NET]);
  const line = (await invite.line("degu:")).match(/.{1,79}/g)!.join("\n");
  const viewer = ["--home", homes.at("viewer"), "join", "-", "--serving", "127.0.0.1:2"];
  const { code, shown } = await runOnTerminal({
    command: agentCommand(viewer, homes.flags("viewer", NET)),
    steps: [["paste the line", `${line}\n`]],
  });
  assertEquals(code, 0, shown);
  assert(!shown.includes("incomplete"), shown);
  assertEquals((await invite.ended()).code, 0);
});

test("in a narrow terminal the countdown does not wrap", async (homes) => {
  const { shown } = await runOnTerminal({
    command: commandOf(homes, [...INVITE, "60"]),
    columns: 30,
    steps: [["left", "\x03"]],
  });
  // deno-lint-ignore no-control-regex -- what erases the line is part of it
  const [, line = ""] = /\r\x1b\[K(waiting[^\r\x1b^]*)/.exec(shown) ?? [];
  assertEquals([line.length, line.endsWith("left")], [29, true], shown);
});

test("with NO_COLOR there is none, and with --quiet no countdown", async (homes) => {
  const { shown } = await runOnTerminal({
    command: commandOf(homes, [...INVITE, "1", "--quiet"]),
    env: { NO_COLOR: "1" },
  });
  assertStringIncludes(shown, "degu: error: nobody has joined");
  assert(!shown.includes("waiting") && !shown.includes("\x1b"), shown);
});

test("a QR code is drawn where the terminal is large enough", async (homes) => {
  const command = commandOf(homes, [...INVITE, "60", "--qr"]);
  const draw = (rows: number, columns: number) =>
    runOnTerminal({ command, rows, columns, steps: [["waiting for", "\x03"]] });
  const large = await draw(80, 160);
  const rows = large.shown.split("\r\n").filter((line) => /^[█▀▄ ]{60,}$/.test(line));
  assert(rows.length > 30, large.shown);
  assertEquals(new Set(rows.map((row) => row.length)).size, 1);
  const [columns, lines] = [rows[0]!.length, rows.length + 1];
  const fitting = await draw(lines, columns);
  assertStringIncludes(fitting.shown, "█▀");
  for (const small of [[lines - 1, columns], [lines, columns - 1]] as const) {
    const { shown } = await draw(...small);
    assertStringIncludes(shown, `needs a terminal of ${columns} columns and ${lines} rows`);
    assert(!shown.includes("█"));
  }
});

test("an interrupt by the keyboard ends it with 130", async (homes) => {
  const { code, shown } = await runOnTerminal({
    command: commandOf(homes, [...INVITE, "60"]),
    steps: [["waiting for", "\x03"]],
  });
  assertEquals(code, 130, shown);
});

test("join asks for the line on a terminal, where it can be interrupted", async (homes) => {
  const { code, shown } = await runOnTerminal({
    command: commandOf(homes, ["join", "-", "--serving", "127.0.0.1:2"]),
    steps: [["paste the line", "degu:AAAA\n"], ["the line is incomplete", "\x03"]],
  });
  assertEquals(code, 130, shown);
});
