/** Questions at a terminal, with keys that a test types. */
import { DeguError } from "@degu/degu/base";
import { openTerminal, type TerminalOutput } from "@degu/degu/device/terminal";
import { skipIgnoredInput } from "@degu/testing/clock.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { makeDenoCommand } from "@degu/testing/commands.ts";
import { findTerminalObstacle, ignoreIf, runOnTerminal } from "@degu/testing/terminals.ts";
import { assertEquals, assertRejects } from "@std/assert";

const QUESTION = { number: "483920", name: "camera", id: "bzvlh72kqqqqqqqq" };

interface ScriptedOutput extends TerminalOutput {
  readonly lines: string[];
  readonly echoed: string[];
  /** What was called except for the questions. */
  readonly calls: string[];
}

/** Makes the output of a terminal at which the texts are typed, one after each line that asks. */
function makeOutput(typed: readonly string[], isTerminal = true): ScriptedOutput {
  const input = new TransformStream<Uint8Array, Uint8Array<ArrayBuffer>>();
  const keys = input.writable.getWriter();
  const texts = typed.values();
  const lines: string[] = [];
  const echoed: string[] = [];
  const calls: string[] = [];
  return {
    lines,
    echoed,
    calls,
    streams: {
      stdin: {
        readable: input.readable,
        isTerminal: () => isTerminal,
        setRaw: (isRaw) => void calls.push(isRaw ? "raw" : "line"),
      },
      stdout: { isTerminal: () => true },
      stderr: { isTerminal: () => true },
    },
    ask(line) {
      lines.push(line);
      if (!/[?:\]]$|Enter:$/.test(line) || / asks\./.test(line)) return;
      const { value, done } = texts.next();
      queueMicrotask(() => {
        if (done) keys.close();
        else keys.write(new TextEncoder().encode(value));
      });
    },
    echo: (text) => void echoed.push(text),
    bufferMessages() {
      calls.push("hold");
      return { [Symbol.dispose]: () => void calls.push("release") };
    },
    interrupt: () => void calls.push("interrupt"),
  };
}

Deno.test("without a terminal there is none to ask", () => {
  assertEquals(openTerminal(makeOutput([], false)), null);
});

Deno.test("only y or yes confirms a number, and a person may type once more", async (t) => {
  using _skipping = skipIgnoredInput();
  const rows: [rule: string, typed: string[], isConfirmed: boolean][] = [
    ["y", ["y\n"], true],
    ["yes, corrected", ["yex\x7fs\n"], true],
    ["an empty reply, then yes", ["\n", "YES\n"], true],
    ["twice neither yes nor no", ["483920\n", "ok\n"], false],
    ["no", ["n\n"], false],
    ["Ctrl-D", ["\x04"], false],
    ["the end of the input", [], false],
  ];
  await testEachRow(t, rows, async (_rule, typed, isConfirmed) => {
    const output = makeOutput(typed);
    using terminal = openTerminal(output)!;
    const { signal } = new AbortController();
    const reply = await terminal.confirm({ ...QUESTION, signal });
    assertEquals(reply, isConfirmed);
    assertEquals(output.lines.slice(0, 3), [
      "camera bzvlh72k… asks. If it is the one that you mean, it shows this number:",
      "  483 920",
      "does camera also show 483 920? Type y or yes if so, and press Enter:",
    ]);
    assertEquals(output.calls, ["hold", "raw", "line", "release"]);
  });
});

Deno.test("an aborted signal ends a question", async () => {
  using terminal = openTerminal(makeOutput([]))!;
  const signal = AbortSignal.abort(new Error("gone"));
  await assertRejects(async () => await terminal.confirm({ ...QUESTION, signal }), Error, "gone");
});

Deno.test("a question waits for the end of the one before, and so do its ignored keys", async () => {
  using _skipping = skipIgnoredInput();
  const output = makeOutput(["y\n", "n\n"]);
  using terminal = openTerminal(output)!;
  const { signal } = new AbortController();
  const waiting = new AbortController();
  const answers = [
    terminal.askYesOrNo("first?", signal),
    terminal.askYesOrNo("aborted?", waiting.signal),
    terminal.askYesOrNo("second?", signal),
  ];
  waiting.abort(new Error("gone"));
  await assertRejects(() => answers[1]!, Error, "gone");
  assertEquals([await answers[0], await answers[2]], [true, false]);
  assertEquals(output.lines, ["first? [y/N]", "second? [y/N]"]);
  const calls = ["hold", "raw", "line", "release"];
  assertEquals(output.calls, [...calls, ...calls]);
});

Deno.test("a terminal that was disposed of asks no question", async () => {
  const output = makeOutput([]);
  const terminal = openTerminal(output)!;
  terminal[Symbol.dispose]();
  const { signal } = new AbortController();
  await assertRejects(() => terminal.askYesOrNo("one?", signal), DeguError, "was disposed of");
  assertEquals([output.lines, output.calls], [[], []]);
});

Deno.test("a name that begins a longer name can be chosen", async () => {
  using _skipping = skipIgnoredInput();
  using terminal = openTerminal(makeOutput(["lamp\n"]))!;
  const list = new Map([["id1", "lamp-x bzvl"], ["id2", "lamp qqqq"]]);
  const { signal } = new AbortController();
  assertEquals(await terminal.choose(() => list, "which?", signal), "id2");
});

Deno.test("another question takes an empty reply for no", async (t) => {
  using _skipping = skipIgnoredInput();
  const rows: [rule: string, typed: string[], isYes: boolean][] = [
    ["Enter", ["\n"], false],
    ["y", ["y\n"], true],
  ];
  await testEachRow(t, rows, async (_rule, typed, isYes) => {
    const output = makeOutput(typed);
    using terminal = openTerminal(output)!;
    const { signal } = new AbortController();
    assertEquals(await terminal.askYesOrNo("receive files?", signal), isYes);
    assertEquals(output.lines, ["receive files? [y/N]"]);
  });
});

Deno.test("a choice is made by a number or the beginning of a line, and Ctrl-C is passed on", async () => {
  using _skipping = skipIgnoredInput();
  const output = makeOutput(["3\n", "LA\x03\n"]);
  using terminal = openTerminal(output)!;
  const list = new Map([["id1", "camera"], ["id2", "lamp"]]);
  const { signal } = new AbortController();
  assertEquals(await terminal.choose(() => list, "which?", signal), "id2");
  assertEquals(output.lines, [
    ...["  1  camera", "  2  lamp", "which?"],
    "type a number from 1 to 2, or the beginning of a single name",
    ...["  1  camera", "  2  lamp", "which?"],
  ]);
  assertEquals(output.echoed.join(""), "3\nLA\n");
  assertEquals(output.calls, ["hold", "raw", "interrupt", "line", "release"]);
});

Deno.test(
  "a program with a question ends by itself after the terminal was disposed of",
  ignoreIf(await findTerminalObstacle()),
  async () => {
    const command = makeDenoCommand([], "tests/programs/terminal_question.ts");
    const { code, shown } = await runOnTerminal({ command, steps: [["[y/N]", "y\n"]] });
    assertEquals([code, shown], [0, "receive \\u{7} files? [y/N]\r\ny\r\ntrue\r\n"]);
  },
);
