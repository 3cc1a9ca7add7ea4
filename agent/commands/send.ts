import type { Address } from "@degu/degu/base";
import { realPath } from "../machine/paths.ts";
import { type HostOrScopedAddress, listen, withNextPort } from "../machine/addresses.ts";
import { type Context, STDIO } from "../machine/context.ts";
import { makeLogger, openTemporaryDevice } from "../machine/open_device.ts";
import { RUN_BOTH_AGAIN } from "../words/explain.ts";
import { Failure } from "../failure.ts";
import { formatCount, formatDevice } from "../terminal/output.ts";
import { inviteOneDevice } from "../pair/shown_invitation.ts";
import { ignoreNotFound, toLocalPath } from "../machine/local_paths.ts";
import { isRemotePath, makeWrongSideFailure } from "../peer/remote_files.ts";
import { NumberPrompt } from "../terminal/number_prompt.ts";
import { findSources, SendSession } from "../serve/send_session.ts";
import { ServeEvents } from "../serve/serve_events.ts";

interface Options {
  readonly line?: boolean;
  readonly listen?: HostOrScopedAddress;
  readonly seconds?: number;
}

export async function send(
  context: Context,
  files: string[],
  { listen: listenAddress, seconds, line: showsLine }: Options,
): Promise<void> {
  const { home, output, signal } = context;
  if (files.includes(STDIO)) {
    throw new Failure(
      "- is stdin, which degu send can't send: write the data to a file first; for a file of this name write ./-",
      "USAGE",
    );
  }
  const remote = files.find((each) => isRemotePath(each) && !/degu(-send)?:/.test(each));
  if (remote !== undefined && await ignoreNotFound(Deno.lstat(remote)) === null) {
    throw makeWrongSideFailure(remote, "degu put copies to a peer");
  }
  const paths = files.map((file) => toLocalPath(file));
  await using temporaryDevice = await openTemporaryDevice(context);
  const { device } = temporaryDevice;
  const deviceDirectories = [device.dir, await ignoreNotFound(realPath(home))].filter((dir) =>
    dir !== null
  );
  const sources = await findSources(paths, deviceDirectories);
  using events = new ServeEvents(output);
  const session = new SendSession(
    sources,
    makeLogger(context),
    (name, event) => events.add(name, event),
  );
  const startServer = (address: Address) => device.serve(address, session.app);
  const [server] = await listen(
    startServer,
    listenAddress === undefined ? undefined : [listenAddress],
    0,
  );
  const serverEnded = server!.serveForever();
  try {
    const invitationListen = listenAddress === undefined
      ? undefined
      : [withNextPort(listenAddress)];
    const receiver = await inviteOneDevice(context, device, NumberPrompt.make(output), {
      options: { listen: invitationListen, seconds },
      command: "degu receive",
      showsLine,
    });
    const { name, id } = receiver;
    output.note(`${formatDevice(receiver)} is receiving`);
    const result = await Promise.race([
      session.resultReported,
      session.waitUntilSilent(signal).then(() => "silence" as const),
    ]);
    signal.throwIfAborted();
    if (result === "silence") {
      const problem = `${name} has disconnected before it had received all files`;
      throw new Failure(`${problem}: ${RUN_BOTH_AGAIN}`);
    }
    await session.end();
    await server!.shutdown();
    if (result !== null) {
      const { stored, unread, unstored } = result;
      const problems = [
        unread === 0 ? [] : `${formatCount(unread, "failure")} to read on this device`,
        unstored === 0 ? [] : formatCount(unstored, unread === 0 ? "failure" : "other failure"),
      ].flat();
      throw new Failure(
        `${name} has ${formatCount(stored, "file")}, and ${problems.join(", and ")}: ` +
          `"degu receive" on ${name} has printed each reason`,
      );
    }
    output.printResult(`sent to ${formatDevice(receiver)}`, { name, id });
  } finally {
    await session.end();
    server!.close();
    await serverEnded;
  }
}
