import {
  checkCanInvite,
  chooseServingAddresses,
  type HostOrScopedAddress,
  type PairingOptions,
} from "../machine/addresses.ts";
import { type Context, DEFAULT_INBOX } from "../machine/context.ts";
import { openOrCreateDevice } from "../machine/open_device.ts";
import { Failure } from "../failure.ts";
import { describeThisDevice } from "../pair/shown_invitation.ts";
import { joinWithPrompt, printNextSteps, printPairing } from "../pair/join_device.ts";
import { pairByDiscovery } from "../pair/pair_session.ts";
import { NumberPrompt } from "../terminal/number_prompt.ts";

interface Options extends PairingOptions {
  readonly listen?: HostOrScopedAddress[];
}

export async function runPair(context: Context, options: Options): Promise<number | void> {
  const { output, signal, options: { address } } = context;
  const numberPrompt = NumberPrompt.make(output);
  if (numberPrompt === null) {
    throw new Failure(
      "a number can be compared on a terminal only, and without --json: " +
        '"degu invite" and "degu join" pair without a number',
      "USAGE",
    );
  }
  if (address !== undefined && options.listen !== undefined) {
    throw new Failure("--address says where the other device is: leave out --listen", "USAGE");
  }
  const { name, isServing } = await pair(context, numberPrompt, options);
  const shouldReceive = !isServing &&
    await numberPrompt.terminal.askYesOrNo(
      `receive files of ${name} into ${DEFAULT_INBOX} now?`,
      signal,
    );
  signal.throwIfAborted();
  if (!shouldReceive) return printNextSteps(output, name, isServing);
  output.note("Ctrl-C stops receiving");
  const { serve } = await import("./serve.ts");
  return await serve(context, { inbox: DEFAULT_INBOX });
}

async function pair(
  context: Context,
  numberPrompt: NumberPrompt,
  { as, serving: servingOption, listen }: Options,
): Promise<{ readonly name: string; readonly isServing: boolean }> {
  const { output, options: { address } } = context;
  await using device = await openOrCreateDevice(context, () => checkCanInvite(listen));
  const servingAddresses = await chooseServingAddresses(output, device, servingOption);
  const options = { peerName: as, serving: servingAddresses };
  if (address !== undefined) output.note(describeThisDevice(device));
  const peer = address === undefined
    ? await pairByDiscovery(context, device, numberPrompt, { listen, ...options })
    : await joinWithPrompt(context, numberPrompt, options, (each) => device.join([address], each));
  printPairing(output, peer);
  return { name: peer.name, isServing: (await device.serving()).length > 0 };
}
