/** The progress bar: what it says, that a terminal gets it and nothing else does, rates and texts that fit. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { fitText, progressLine, TransferRate, widthOf } from "@degu/internal/agent/progress_bar.ts";
import { AgentFiles } from "@degu/testing/agent_files.ts";
import { screenOf } from "@degu/testing/screen.ts";
import { randomBytes } from "@degu/testing/transferring.ts";
import fc from "fast-check";

const PROGRESS = {
  name: "camera:photos/1.jpg",
  files: 3,
  totalFiles: 10,
  bytes: 25_000_000,
  totalBytes: 100_000_000,
  rate: 2_500_000,
};

Deno.test("a line says the name, how much, how fast and how long", () => {
  assertEquals(
    progressLine(PROGRESS, 100),
    "3/10 camera:photos/1.jpg    25 %  [=====               ]  25.0 MB of 100 MB  2.50 MB/s  0:30 left",
  );
  const first = progressLine({ ...PROGRESS, totalFiles: 1, rate: null }, 80);
  assertEquals(
    first,
    "camera:photos/1.jpg           25 %  [=====               ]  25.0 MB of 100 MB",
  );
  assertEquals(
    progressLine({ ...PROGRESS, totalFiles: 1 }, 40),
    "came…jpg   25 %  2.50 MB/s  0:30 left",
  );
  assertEquals(progressLine(PROGRESS, 40), "3/10 camera:…/1.jpg   25 %  0:30 left");
  assertStringIncludes(progressLine({ ...PROGRESS, bytes: 100_000_000 }, 80), "100 %");
  assertStringIncludes(progressLine({ ...PROGRESS, totalBytes: 0, bytes: 0 }, 80), "100 %");
});

Deno.test("a line is narrower than the terminal, whatever the name is, and has nothing that moves the cursor", () => {
  const names = [
    "x",
    "日本語のファイル".repeat(20),
    "👩‍👩‍👧".repeat(40),
    "a\x1b[2J\r\nb\u202e".repeat(9),
    "é".repeat(300),
  ];
  for (const name of names) {
    for (let columns = 1; columns <= 200; columns++) {
      const line = progressLine({ ...PROGRESS, name }, columns);
      assert(widthOf(line) < columns, `${columns}: ${JSON.stringify(line)}`);
      assert(!/[\p{Cc}\u202e]/u.test(line), JSON.stringify(line));
    }
  }
});

const PTY = fromFileUrl(new URL("../support/programs/pseudo_terminal.py", import.meta.url));

async function hasTerminal(): Promise<boolean> {
  try {
    const args = [PTY, "80", "true"];
    return (await new Deno.Command("python3", { args, stdin: "null" }).output()).success;
  } catch {
    return false;
  }
}

const isAble = await hasTerminal();

Deno.test({
  name: isAble
    ? "a terminal gets the bar, which is gone at the end; --quiet, --json and a pipe get none"
    : "the bar on a terminal: left out, python3 or its pty is missing",
  ignore: !isAble,
  fn: async () => {
    await using files = await AgentFiles.start();
    await Deno.writeFile(`${files.share}/日本 large`, randomBytes(20_000_000));
    const through = ["python3", PTY, "80"];
    const getRaw = async (name: string, ...options: string[]) => {
      const args = ["get", ...options, "camera:日本 large", `${files.here}/${name}`];
      await using agent = files.spawnThrough(through, ...args);
      const { code, stdout } = await agent.ended();
      assertEquals(code, 0, stdout);
      return stdout;
    };
    const get = async (...args: [string, ...string[]]) =>
      (await getRaw(...args)).replaceAll("\x1b", "␛");
    const shown = await get("1");
    assertMatch(shown, /camera:日本 large +\d+ % {2}\[=* *\] {2}[\d.]+ k?M?B of 20\.0 MB/);
    const drawn = shown.split("\r").filter((line) => line.includes(" of 20.0 MB"));
    assert(drawn.every((line) => widthOf(line.replaceAll(/␛(\[[\d?;]*[A-Za-z]|\d)/g, "")) < 80));
    // The cursor was never hidden, and the last line that is drawn is cleared.
    assert(!shown.includes("␛[?25l"), shown);
    assertMatch(shown, /␛\[K[^[]*1 file copied, 20\.0 MB in 0:\d\d/);
    assertEquals(screenOf(await getRaw("3")).map((line) => line.replace(/in .*/, "")), [
      `${files.here}/3`,
      "1 file copied, 20.0 MB ",
    ]);
    for (const option of ["--quiet", "--json"]) {
      assert(!(await get(option, option)).includes("␛"), option);
    }
    const piped = await files.succeed("get", "camera:日本 large", `${files.here}/2`);
    assertEquals(piped.stderr.split("\n").length, 2);
    assert(!piped.stderr.includes("%"));
  },
});

Deno.test("a rate covers the last five seconds, and is unknown at first", () => {
  const rate = new TransferRate(0);
  rate.note(299, 1000);
  assertEquals(rate.bytesPerSecond, null);
  rate.note(500, 1000);
  assertEquals(rate.bytesPerSecond, 2000);
  for (let at = 1000; at <= 20_000; at += 100) rate.note(at, 1000);
  assertEquals(rate.bytesPerSecond, 0);
  for (let at = 20_100; at <= 30_000; at += 100) rate.note(at, 1000 + (at - 20_000));
  assertEquals(rate.bytesPerSecond, 1000);
});

Deno.test("the middle of a long text is cut out; wide characters count twice, composed ones once", () => {
  assertEquals(fitText("holiday-2025.jpg", 16), "holiday-2025.jpg");
  assertEquals(fitText("holiday-2025.jpg", 11), "holid…5.jpg");
  assertEquals(fitText("日本語のファイル.txt", 12), "日本語….txt");
  assertEquals(widthOf("👩‍👩‍👧"), 2);
  assertEquals(fitText("👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧", 5), "👩‍👩‍👧…👩‍👩‍👧");
  assertEquals([fitText("abc", 1), fitText("abc", 0)], ["…", ""]);
});

Deno.test("no text exceeds its maximum width", () => {
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), fc.nat(40), (text, columns) => {
    assert(widthOf(fitText(text, columns)) <= columns);
  }));
});
