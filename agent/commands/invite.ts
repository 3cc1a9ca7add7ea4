import {
  checkCanInvite,
  chooseServingAddresses,
  type HostOrScopedAddress,
  type PairingOptions,
} from "../machine/addresses.ts";
import type { Context } from "../machine/context.ts";
import { openOrCreateDevice } from "../machine/open_device.ts";
import { inviteOneDevice } from "../pair/shown_invitation.ts";
import { printNextSteps, printPairing } from "../pair/join_device.ts";
import { OutputClosedError } from "../terminal/output.ts";

export async function runInvite(
  context: Context,
  options: PairingOptions & { readonly seconds?: number; readonly listen?: HostOrScopedAddress[] },
): Promise<void> {
  const { output } = context;
  const { as, seconds, listen } = options;
  await using device = await openOrCreateDevice(context, () => checkCanInvite(listen));
  const servingAddresses = await chooseServingAddresses(output, device, options.serving);
  const peer = await inviteOneDevice(context, device, null, {
    options: { peerName: as, seconds, listen, serving: servingAddresses },
    command: "degu join",
  });
  try {
    printPairing(output, peer);
  } catch (error) {
    // If the other device reads the line from a pipe, it may have closed its end of the pipe.
    if (!(error instanceof OutputClosedError)) throw error;
  }
  printNextSteps(output, peer.name, (await device.serving()).length > 0);
}
