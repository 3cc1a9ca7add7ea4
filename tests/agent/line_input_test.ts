import { assertEquals, assertRejects } from "@std/assert";
import { Failure } from "@degu/internal/agent/failure.ts";
import { readLine } from "@degu/internal/agent/line_input.ts";
import { Output } from "@degu/internal/agent/output.ts";
import { TestDevices } from "@degu/testing/device_pairs.ts";

const OUTPUT = new Output({ json: false, quiet: true });
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
    assertEquals(await readLine(OUTPUT, NEVER, input(pieces, ends)), expected);
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
      () => readLine(OUTPUT, NEVER, input(pieces, ends)),
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
  const reading = readLine(OUTPUT, controller.signal, waiting);
  controller.abort(reason);
  const error = await assertRejects(() => reading);
  assertEquals([error, cancelled], [reason, true]);
});
