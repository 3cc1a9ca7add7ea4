/**
 * `degu join`: pairs with the device that has invited this one.
 *
 * @module
 */

import type { Command } from "npm:commander@^15.1.0";
import { type Address, DeguError, formatAddress } from "../../base.ts";
import type { Device, JoinOptions, Peer } from "../../device.ts";
import {
  addAddresses,
  addExamples,
  optionMessage,
  parseServingAddress,
  type Run,
} from "../commands.ts";
import { type Context, openDevice } from "../context.ts";
import { FAILED, Failure, noAddressAnswers, REFUSED, USAGE } from "../failure.ts";
import { readLine } from "../line_input.ts";
import { servingAddresses } from "../serving_addresses.ts";

/** The options of `degu join`. */
interface Options {
  readonly as?: string;
  readonly serving?: Address[];
}

/** Adds `degu join`. */
export function addJoin(program: Command, run: Run): void {
  const command = program.command("join")
    .summary("pair with the device that has invited this one")
    .description(
      "Pairs with the device that printed the line. White space in it is ignored. With - it is read from " +
        "stdin, which keeps it out of process lists and the shell's history.",
    )
    .argument("<line>", 'what "degu invite" has printed, or - to read it from stdin')
    .option("--as <name>", "what the other device is called here (default: its own name)");
  addAddresses(
    command,
    "--serving <address>",
    'where the other device finds this one later; can be repeated (default: where "degu serve" listens)',
    parseServingAddress,
  );
  command.action((line: string, options: Options, command: Command) =>
    run(command, (context) => join(context, line, options))
  );
  addExamples(command, [
    ["degu join -", "then paste the line"],
    ["degu join --as laptop - < line.txt", "from a file, under another name"],
  ]);
}

async function join(context: Context, given: string, { as, serving }: Options): Promise<void> {
  const { output, signal } = context;
  await using device = await openDevice(context);
  const line = given === "-" ? await readLine(output, signal) : given;
  const { name, id, addresses } = await pair(device, line, {
    peerName: as,
    serving: await servingAddresses(context, device, serving),
    signal,
  });
  output.result(`paired with ${name} ${id}`, { name, id, addresses: addresses.map(formatAddress) });
  output.note(`compare the id with what "degu id" prints on ${name}; then try "degu ping ${name}"`);
}

async function pair(device: Device, line: string, options: JoinOptions): Promise<Peer> {
  try {
    return await device.join(line, options);
  } catch (error) {
    if (error instanceof RangeError) {
      throw new Failure(USAGE, optionMessage(error), { cause: error });
    }
    if (!(error instanceof DeguError)) throw error;
    throw new Failure(isOutOfReach(error) ? FAILED : REFUSED, error.message, { cause: error });
  }
}

/** Whether nothing answered, so that the invitation was not refused. */
function isOutOfReach({ cause }: DeguError): boolean {
  const errors: unknown[] = cause instanceof AggregateError ? cause.errors : [cause];
  return errors.every((error) =>
    noAddressAnswers(error) && !(error instanceof Deno.errors.ConnectionRefused)
  );
}
