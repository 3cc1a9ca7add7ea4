/** `degu send`: files for one other device, once, without pairing. */

import type { Address } from "@degu/degu/base";
import type { Device, Peer } from "@degu/degu/device";
import { realPath } from "../paths.ts";
import {
  type HostOrScopedAddress,
  listen,
  parseInvitingAddress,
  withNextPort,
} from "../addresses.ts";
import { type AgentCommand, type Context, parseSeconds } from "../command.ts";
import { loggerOf, TemporaryDevice } from "../own_device.ts";
import { Failure } from "../failure.ts";
import { ShownInvitation } from "../inviting.ts";
import { nullIfNotFound } from "../local_paths.ts";
import { NumberPrompt } from "../numbers.ts";
import { findSources, SendSession } from "../sending.ts";
import { ServeEvents } from "../serve_events.ts";

export function addSend(program: AgentCommand): void {
  program.command("send")
    .summary("send files to one other device, once, without pairing")
    .description(
      "Sends files, and directories with everything in them, to one device that receives them: run degu receive " +
        "there. Both show a number, and ask whether it is the same. Ends when everything has arrived, or when " +
        "nobody has come for ten minutes. Neither device knows the other one afterwards.",
    )
    .argument("<file...>", "what to send")
    .option(
      "--seconds <seconds>",
      "how long it waits for the other device (default: 600)",
      parseSeconds,
    )
    .option(
      "--listen <address>",
      "where to wait for the other device (default: every address, any ports)",
      parseInvitingAddress,
    )
    .addExample("degu send report.pdf", "then degu receive on the other device")
    .addExample("degu send photos notes.txt", "a directory and a file")
    .setHandler(send);
}

interface Options {
  readonly listen?: HostOrScopedAddress;
  readonly seconds?: number;
}

async function send(
  context: Context,
  files: string[],
  { listen: given, seconds }: Options,
): Promise<void> {
  const { home, output, signal } = context;
  await using own = await TemporaryDevice.open(context);
  const { device } = own;
  const homes = [device.dir, await nullIfNotFound(realPath(home))].filter((each) => each !== null);
  const sources = await findSources(files, homes);
  using events = new ServeEvents(output);
  const sending = new SendSession(
    sources,
    loggerOf(context),
    (name, event) => events.add(name, event),
  );
  const start = (address: Address) => device.serve(address, sending.app);
  const [server] = await listen(start, given === undefined ? undefined : [given], 0);
  const serving = server!.serveForever();
  try {
    const { name, id } = await invite(context, device, { listen: given, seconds });
    output.note(`${name} ${id} is receiving`);
    const isDone = await Promise.race([
      sending.done.then(() => true),
      sending.gone(signal).then(() => false),
    ]);
    signal.throwIfAborted();
    if (!isDone) {
      const again = 'run "degu send" here and "degu receive" there again';
      throw new Failure(`${name} has left before it had everything: ${again}`);
    }
    await sending.end();
    await server!.shutdown();
    output.result(`sent to ${name} ${id}`, { name, id });
  } finally {
    await sending.end();
    server!.close();
    await serving;
  }
}

/** Waits for a device that receives. */
async function invite(
  context: Context,
  device: Device,
  { listen, seconds }: { readonly [K in keyof Options]: Options[K] | undefined },
): Promise<Peer> {
  const questions = NumberPrompt.on(context.output);
  await using shown = await ShownInvitation.open(context, device, questions, {
    options: { listen: listen === undefined ? undefined : [withNextPort(listen)], seconds },
    command: "degu receive",
    late: 'nobody has come in time: run "degu send" again',
  });
  shown.show();
  return await shown.paired();
}
