import { chooseServingAddresses, type PairingOptions } from "../machine/addresses.ts";
import type { Context } from "../machine/context.ts";
import { openOrCreateDevice } from "../machine/open_device.ts";
import { Failure } from "../failure.ts";
import { PAIR_ADVICE } from "../terminal/output.ts";
import {
  joinByLine,
  type LineAdvice,
  printNextSteps,
  printPairing,
  readInvitationLine,
} from "../pair/join_device.ts";

const LINE_ADVICE: LineAdvice = {
  command: "degu join",
  noLine: `give the line that "degu invite" on the other device has printed, or ${PAIR_ADVICE}`,
};

export async function join(
  context: Context,
  line: string | undefined,
  { as, serving: servingOption }: PairingOptions,
): Promise<void> {
  const { output } = context;
  if (line === undefined) throw new Failure(`LINE is missing: ${LINE_ADVICE.noLine}`, "USAGE");
  const invitationLine = await readInvitationLine(context, line, LINE_ADVICE);
  await using device = await openOrCreateDevice(context);
  const servingAddresses = await chooseServingAddresses(output, device, servingOption);
  const options = { peerName: as, serving: servingAddresses };
  const peer = await joinByLine(context, device, invitationLine, options, LINE_ADVICE);
  printPairing(output, peer);
  printNextSteps(output, peer.name, (await device.serving()).length > 0);
}
