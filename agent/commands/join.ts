/** `degu join`: pairs with the device that has invited this one. */

import { formatAddress } from "../../base.ts";
import { isDeviceName } from "../../identity/names.ts";
import {
  type AgentCommand,
  type Context,
  openOrMakeDevice,
  type PairingOptions,
  servingAddresses,
} from "../commands.ts";
import { joinByLine, joinByNumber, questionsOn } from "../joining.ts";
import { PAIR_SERVICE } from "../mdns.ts";

export function addJoin(program: AgentCommand): void {
  program.command("join")
    .summary("pair with the device that has invited this one")
    .description(
      "Pairs with the device that invites. Without an operand, looks for that device in this network; both devices " +
        "then show a number, and ask whether it is the same. With the line that the other device has printed, " +
        "nothing has to be compared. White space in the line is ignored. With -, the line is read from stdin, which " +
        "keeps it out of process lists and the shell's history.",
    )
    .argument(
      "[line]",
      'what "degu invite" has printed, or - to read it from stdin; or the name of the device, if several invite',
    )
    .meets()
    .pairs()
    .example("degu join", "then compare the number")
    .example("degu join -", "then paste the line")
    .example("degu join --as laptop - < line.txt", "from a file, under another name")
    .does(join);
}

async function join(
  context: Context,
  given: string | undefined,
  { as, serving: givenServing }: PairingOptions,
): Promise<void> {
  const { output } = context;
  const line = given === undefined || isDeviceName(given) ? null : given;
  const questions = line === null ? questionsOn(output, "degu join") : null;
  await using device = await openOrMakeDevice(context);
  const serving = await servingAddresses(context, device, givenServing);
  const options = { peerName: as, serving };
  const looking = {
    type: PAIR_SERVICE,
    name: given,
    there: "degu invite",
    choice: "degu join NAME",
  } as const;
  const { name, id, addresses } = questions === null
    ? await joinByLine(context, device, line!, options)
    : await joinByNumber(context, device, questions, looking, options);
  output.result(`paired with ${name} ${id}`, { name, id, addresses: addresses.map(formatAddress) });
  output.note(
    questions === null
      ? `compare the id with what "degu id" prints on ${name}; then try "degu ping ${name}"`
      : `try "degu ping ${name}"`,
  );
}
