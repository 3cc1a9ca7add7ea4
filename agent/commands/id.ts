/**
 * `degu id`: who this device is.
 *
 * @module
 */

import type { Command } from "npm:commander@^15.1.0";
import { addExamples, type Run } from "../commands.ts";
import { type Context, openDevice } from "../context.ts";

/** Adds `degu id`. */
export function addId(program: Command, run: Run): void {
  const command = program.command("id")
    .summary("print the name and the id of this device")
    .description(
      "Prints the name and the id of this device, to compare with what the other device shows.",
    )
    .action((_options: unknown, command: Command) => run(command, printId));
  addExamples(command, [["degu id", "name and id"]]);
}

async function printId(context: Context): Promise<void> {
  await using device = await openDevice(context);
  const { name, id } = device;
  context.output.result(`${name} ${id}`, { name, id });
}
