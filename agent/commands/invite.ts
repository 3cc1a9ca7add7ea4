/**
 * `degu invite`: lets one other device pair with this one.
 *
 * @module
 */

import type { Command } from "npm:commander@^15.1.0";
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
} from "../commands.ts";
import { type Context, openDevice } from "../context.ts";
import { startCountdown } from "../countdown.ts";
import { FAILED, Failure, OutputClosed, USAGE } from "../failure.ts";
import { drawQr } from "../qr.ts";
import { servingAddresses } from "../serving_addresses.ts";

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
  using _countdown = await startCountdown(output, invitation.expires);
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
