import { formatAddress } from "@degu/degu/base";
import { type Device, type InviteOptions, PairingError, type Peer } from "@degu/degu/device";
import { type NearbyDevice, pair, type PairEvent } from "@degu/degu/device/discovery";
import type { HostOrScopedAddress } from "../machine/addresses.ts";
import type { Context } from "../machine/context.ts";
import { makeLogger } from "../machine/open_device.ts";
import {
  describeRemoteRefusal,
  explainDiscoveryProblem,
  reasonOf,
  RUN_AGAIN,
  RUN_BOTH_AGAIN,
} from "../words/explain.ts";
import { toUsageFailure } from "../words/error_codes.ts";
import { Failure } from "../failure.ts";
import { describeThisDevice, showCountdown, toInvitationFailure } from "./shown_invitation.ts";
import type { NumberPrompt } from "../terminal/number_prompt.ts";
import { formatDevice } from "../terminal/output.ts";

interface PairSessionOptions {
  readonly peerName: string | undefined;
  readonly serving: InviteOptions["serving"];
  readonly listen: HostOrScopedAddress[] | undefined;
}

const JOIN_FAILURE_TEXTS: Readonly<Record<string, string>> = {
  BUSY: "asks about another device: if you have not started that, answer no on it",
  NOT_OPEN: "accepts no number now, or a firewall blocks the connection: trying again",
};
const UNREACHABLE_TEXT =
  "does not answer: a firewall may block the connection; waiting for it to connect";

/** Shows what happens while two devices pair. */
export async function pairByDiscovery(
  context: Context,
  device: Device,
  prompt: NumberPrompt,
  options: PairSessionOptions,
): Promise<Peer> {
  const { output, signal } = context;
  using stack = new DisposableStack();
  const onEvent = (event: PairEvent) => {
    if (event.type === "open") {
      output.note(`${describeThisDevice(device)}; also run "degu pair" on the other device`);
      stack.use(showCountdown(context, event.invitation, prompt));
    } else if (event.type === "alone") {
      output.note(describeAloneness(formatAddress(event.addresses[0]!), options.listen));
    } else if (event.type === "gone") {
      output.note(`${event.device.name} is not found any more: run "degu pair" on it again`);
    } else if (event.type === "unconfirmed") {
      const reason = describeRemoteRefusal(event.question.name);
      output.note(`${reason}; the device that you mean may still connect`);
    } else if (event.error instanceof PairingError && event.error.reason === "other id") {
      output.warn(reasonOf(event.error));
    } else {
      const code = event.error instanceof PairingError ? event.error.code : "UNREACHABLE";
      const text = JOIN_FAILURE_TEXTS[code] ?? UNREACHABLE_TEXT;
      output.note(`${event.device.name} at ${formatAddress(event.address)} ${text}`);
    }
  };
  const choose = async (list: () => readonly NearbyDevice[], closeSignal: AbortSignal) => {
    const count = list().length;
    output.ask(`${count} other devices run degu pair:`);
    const question = "which one do you mean? Type its number, and press Enter:";
    const makeList = () =>
      new Map(
        list().map((each) => {
          const address = formatAddress(each.addresses[0]!);
          return [each.id, `${formatDevice(each)} at ${address}`];
        }),
      );
    const id = await prompt.terminal.choose(makeList, question, closeSignal);
    if (id !== null) return id;
    throw new Failure(`${count} devices were found, and none was chosen: ${RUN_AGAIN}`);
  };
  try {
    return await pair(device, {
      ...options,
      confirm: prompt.confirm,
      choose,
      onEvent,
      signal,
      logger: makeLogger(context),
    });
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof Deno.errors.TimedOut) {
      const problem = `no device has joined in ten minutes: ${RUN_BOTH_AGAIN}`;
      throw new Failure(problem, "TIMED_OUT", { cause: error });
    }
    if (error instanceof PairingError && error.reason === "no numbers left") {
      throw new Failure(`${error.problem}: ${RUN_AGAIN}`, "REFUSED", { cause: error });
    }
    throw toInvitationFailure(toUsageFailure(error), options.listen);
  }
}

function describeAloneness(address: string, listen: HostOrScopedAddress[] | undefined): string {
  const problem = listen === undefined ? explainDiscoveryProblem() : null;
  const reason = problem === null ? "" : `, because ${problem.text}`;
  const advice = problem?.code === "no network"
    ? ""
    : `; if the other device does not find this one, run "degu pair --address ${address}" on it`;
  return `no other device was found${reason}${advice}`;
}
