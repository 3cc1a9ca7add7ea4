/**
 * `degu invite`: lets one other device pair with this one.
 *
 * @module
 */

import type { Command } from "npm:commander@^15.1.0";
import { encode } from "npm:uqr@^0.1.3";
import type { Address } from "../../base.ts";
import type { Device, Invitation, Peer } from "../../device.ts";
import {
  addAddresses,
  addExamples,
  notOfThisMachine,
  optionMessage,
  parseListenAddress,
  parseSeconds,
  parseServingAddress,
  type Run,
  servingAddresses,
} from "../commands.ts";
import { type Context, openDevice } from "../context.ts";
import { FAILED, Failure, OutputClosed, USAGE } from "../failure.ts";
import { columnsOf, type Output, writeText } from "../output.ts";

/** The options of `degu invite`. */
interface Options {
  readonly qr?: boolean;
  readonly as?: string;
  readonly seconds?: number;
  readonly listen?: Address[];
  readonly serving?: Address[];
}

/** Adds `degu invite`. */
export function addInvite(program: Command, run: Run): void {
  const command = program.command("invite")
    .summary("let one other device pair with this one")
    .description(
      "Prints a line of text for one other device, and waits until that has joined with it. Whoever has the line " +
        "can pair: keep it secret, and unchanged, until it has been used.",
    )
    .option("--qr", "draw the line as a QR code, too")
    .option("--as <name>", "what the other device is called here (default: its own name)")
    .option("--seconds <seconds>", "how long it waits (default: 600)", parseSeconds);
  addAddresses(
    command,
    "--listen <address>",
    "where to wait for the other device; can be repeated (default: every address, any port)",
    parseListenAddress,
  );
  addAddresses(
    command,
    "--serving <address>",
    'where the other device finds this one later; can be repeated (default: where "degu serve" listens)',
    parseServingAddress,
  );
  command.action((options: Options, command: Command) =>
    run(command, (context) => invite(context, options))
  );
  addExamples(command, [
    [
      "degu invite",
      "prints the line: carry it to the other device, and give it to degu join - there",
    ],
    ["degu invite --qr", "for a device with a camera"],
    ["degu invite | ssh other degu join -", "pairs with a machine that you have a shell on"],
  ]);
}

async function invite(context: Context, options: Options): Promise<void> {
  const { output } = context;
  await using device = await openDevice(context);
  await using invitation = await open(context, device, options);
  const { line, expires } = invitation;
  output.result(line, { line, expires: expires.toISOString() });
  if (options.qr === true) drawQr(output, line);
  output.note(
    'on the other device run "degu join -" and give it this line, which is secret until it has been used',
  );
  announcePeer(context, await paired(context, invitation));
}

async function open(context: Context, device: Device, options: Options): Promise<Invitation> {
  const { as, seconds, listen } = options;
  const serving = await servingAddresses(context, device, options.serving);
  try {
    return await device.invite({ peerName: as, seconds, listen, serving });
  } catch (error) {
    if (error instanceof Deno.errors.AddrNotAvailable && listen !== undefined) {
      throw notOfThisMachine(listen, error);
    }
    if (!(error instanceof RangeError)) throw error;
    throw new Failure(USAGE, optionMessage(error), { cause: error });
  }
}

/** Waits for the other device, and shows how long. */
async function paired({ output, signal }: Context, invitation: Invitation): Promise<Peer> {
  using _countdown = startCountdown(output, invitation.expires);
  const close = () => invitation.close();
  signal.addEventListener("abort", close);
  try {
    signal.throwIfAborted();
    return await invitation.paired;
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof Deno.errors.TimedOut)) throw error;
    throw new Failure(FAILED, 'nobody has joined in time: run "degu invite" again for a new line');
  } finally {
    signal.removeEventListener("abort", close);
  }
}

/** The other device may have read its line from a pipe, and have closed the pipe since then. */
function announcePeer({ output }: Context, { name, id }: Peer): void {
  try {
    output.result(`paired with ${name} ${id}`, { name, id });
  } catch (error) {
    if (!(error instanceof OutputClosed)) throw error;
  }
}

/**
 * Shows the time that is left in the last line of the terminal, until disposed of; nothing without a terminal or
 * with `--quiet`.
 */
export function startCountdown({ draws, streams }: Output, expires: Date): Disposable {
  if (!draws) return { [Symbol.dispose]: () => {} };
  const end = performance.now() + expires.getTime() - Date.now();
  const write = (text: string) => {
    try {
      writeText(streams.stderr, text);
    } catch {
      // The terminal was closed; the invitation stays open.
    }
  };
  const show = () => {
    // A line that wraps could not be cleared; what is left is at its end.
    write(`\r\x1b[K${countdownText(end - performance.now()).slice(1 - columnsOf(streams))}`);
  };
  show();
  const timer = setInterval(show, 1000);
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer);
      write("\r\x1b[K");
    },
  };
}

/** The text for a remaining time in milliseconds. */
export function countdownText(milliseconds: number): string {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const minutes = Math.floor(seconds / 60);
  return `waiting for the other device: ${minutes}:${String(seconds % 60).padStart(2, "0")} left`;
}

/** Width of the quiet zone in modules (ISO/IEC 18004). */
const QUIET_ZONE = 4;

/** Two modules, one above the other, in one character. A terminal shows a filled one light, so these are inverted. */
const HALVES: readonly (readonly [lowerLight: string, lowerDark: string])[] = [
  ["█", "▀"],
  ["▄", " "],
];

/** Draws a text as a QR code if the terminal is large enough; otherwise says how large it must be. */
export function drawQr(output: Output, text: string): void {
  if (output.json) return;
  const lines = qrLines(text);
  const columns = lines[0]!.length;
  if (!output.streams.stdout.isTerminal()) {
    return output.warn("--qr: the output is not a terminal, so no QR code is drawn");
  }
  const size = output.streams.consoleSize();
  if (size.columns >= columns && size.rows > lines.length) return output.result(lines, {});
  output.warn(
    `--qr: needs a terminal of ${columns} columns and ${lines.length + 1} rows, and this one has ` +
      `${size.columns} and ${size.rows}: make it larger, or its text smaller, and invite again`,
  );
}

/** The lines of a QR code: a character is one module wide and two high. */
export function qrLines(text: string): string[] {
  const { data, size } = encode(text, { ecc: "L", border: QUIET_ZONE });
  const isDark = (row: number, column: number) => data[row]?.[column] === true ? 1 : 0;
  return Array.from(
    { length: Math.ceil(size / 2) },
    (_, line) =>
      Array.from(
        { length: size },
        (_, column) => HALVES[isDark(2 * line, column)]![isDark(2 * line + 1, column)],
      ).join(""),
  );
}
