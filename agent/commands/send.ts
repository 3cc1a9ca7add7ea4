/** `degu send`: files for one other device, once, without pairing. */

import type { Address } from "../../base.ts";
import type { Device, Peer } from "../../device.ts";
import {
  type AgentCommand,
  type Context,
  loggerOf,
  parseInvitingAddress,
  type SentAddress,
} from "../commands.ts";
import { ShownInvitation } from "../inviting.ts";
import { ifThere } from "../local_paths.ts";
import { SEND_SERVICE } from "../mdns.ts";
import { NumberQuestions } from "../numbers.ts";
import { findSources, Sending } from "../sending.ts";
import { TemporaryDevice } from "../temporary_device.ts";
import { listen, ServeEvents } from "./serve.ts";

export function addSend(program: AgentCommand): void {
  program.command("send")
    .summary("send files to one other device, once, without pairing")
    .description(
      "Sends files, and directories with everything in them, to one device that receives them: run degu receive " +
        "there. Both show a number, and ask whether it is the same. Ends when everything has arrived, or when " +
        "nobody has come for ten minutes. Neither device knows the other one afterwards.",
    )
    .argument("<file...>", "what to send")
    .option("--seconds <seconds>", "how long it waits for the other device (default: 600)", Number)
    .option(
      "--listen <address>",
      "where to wait for the other device (default: every address, any ports)",
      parseInvitingAddress,
    )
    .example("degu send report.pdf", "then degu receive on the other device")
    .example("degu send photos notes.txt", "a directory and a file")
    .does(send);
}

interface Options {
  readonly listen?: SentAddress;
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
  const homes = [device.dir, await ifThere(Deno.realPath(home))].filter((each) => each !== null);
  const sources = await findSources(files, homes);
  using events = new ServeEvents(output, false);
  const sending = new Sending(
    sources,
    loggerOf(context),
    (name, event) => events.add(name, event),
  );
  const start = (address: Address) => device.serve(address, sending.app);
  const [server] = await listen(start, given === undefined ? undefined : [given], 0);
  const serving = server!.serveForever();
  const done = sending.done.then(() => null);
  try {
    let receiver: Peer | null = null;
    for (;;) {
      const before: Peer | null = receiver;
      const came: Peer | null = await nextReceiver(
        context,
        device,
        { listen: given, seconds },
        done,
      ).catch((error) => {
        signal.throwIfAborted();
        // The receiver that had left is here again, so nobody else is waited for.
        if (before !== null && sending.isHere(before.id)) return before;
        throw error;
      });
      if (came === null) break;
      if (before !== null && before.id !== came.id) await device.forget(before);
      receiver = came;
      output.note(`${came.name} ${came.id} is receiving`);
      const left = sending.gone(came.id, signal).then(() => came);
      if (await Promise.race([left, done]) === null) break;
      signal.throwIfAborted();
      output.note(
        `${came.name} has left before it had everything; it, or another device, can come again`,
      );
    }
    await sending.end();
    await server!.shutdown();
    const { name = "", id = "" } = receiver ?? {};
    output.result(`sent to ${name} ${id}`, { name, id });
  } finally {
    await sending.end();
    server!.close();
    await serving;
  }
}

/** Waits for a device that receives; resolves to `null` if one before it is done. */
async function nextReceiver(
  context: Context,
  device: Device,
  { listen, seconds }: { readonly [K in keyof Options]: Options[K] | undefined },
  done: Promise<null>,
): Promise<Peer | null> {
  const questions = NumberQuestions.on(context.output);
  await using shown = await ShownInvitation.open(context, device, questions, {
    type: SEND_SERVICE,
    options: { listen: listen === undefined ? undefined : [afterPort(listen)], seconds },
    command: "degu receive",
    late: 'nobody has come in time: run "degu send" again',
  });
  const { line, expires } = shown.invitation;
  context.output.result(line, { line, expires: expires.toISOString() });
  shown.show();
  return await Promise.race([shown.paired(), done]);
}

/** The address for the invitation, beside that of the server. */
function afterPort([host, port, ...scope]: SentAddress): SentAddress {
  return [host, port === 0 ? 0 : port + 1, ...scope] as unknown as SentAddress;
}
