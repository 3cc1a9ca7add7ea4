/**
 * Runs `degu pair` at the terminals of two machines while a stranger on a third machine interferes.
 * Prints the output of each scene and the exit codes as JSON.
 */

import type { Address } from "@degu/degu";
import { Client } from "@degu/degu/client";
import { Device, PairingError } from "@degu/degu/device";
import { Server } from "@degu/degu/server";
import { Announcement, discoverServices } from "@degu/internal/device/discovery/mdns.ts";
import {
  computeCommitment,
  encodeMessage,
  makeRandomValue,
} from "@degu/internal/device/pairing/pairing_messages.ts";
import { confirmNumbers, install, makeNetwork } from "../../agent/tests/agent_lab.ts";
import type { RunningAgent } from "@degu/testing/agents.ts";
import { SILENT } from "../../device/tests/mdns.ts";
import { importMapFlags, makeProgramCommand, RunningProcess } from "@degu/testing/processes.ts";

const PAIR_SERVICE = "_degu-pair._tcp.local";
const [dir = "", task, count] = Deno.args;

/** Joins device one as a stranger, five times, after so many devices have announced themselves. */
async function disturb(): Promise<void> {
  await using device = await Device.open(`${dir}/stranger`, { name: "stranger" });
  await using ownInvitation = await device.invite({ listen: [["127.0.0.1", 0]] });
  const response = await new Client(ownInvitation.addresses[0]!).request("GET", "/authority");
  const authority = await response.bytes();
  const stop = new AbortController();
  const addressesFound = Promise.withResolvers<readonly Address[]>();
  const options = { seconds: 60, signal: stop.signal };
  const finding = discoverServices(PAIR_SERVICE, options, undefined, (offers) => {
    const offer = offers.find(({ name }) => name === "one");
    if (offer !== undefined && offers.length >= Number(count)) {
      addressesFound.resolve(offer.addresses);
    }
  }).catch(() => {});
  const addresses = await addressesFound.promise;
  stop.abort();
  await finding;
  let isShown = Promise.withResolvers<void>();
  Deno.addSignalListener("SIGUSR1", () => isShown.resolve());
  for (let i = 0; i < 5; i++) {
    if (task === "ask") {
      // Reject after the other device shows the number, which then reports a device that has left.
      const confirm = async ({ number }: { readonly number: string }) => {
        isShown = Promise.withResolvers();
        console.log(`${number.slice(0, 3)} ${number.slice(3)}`);
        await isShown.promise;
        return false;
      };
      await device.join(addresses, { confirm }).catch((error) => {
        if (!(error instanceof PairingError)) throw error;
      });
    } else {
      // The stranger sends its commitment and leaves: a try without a number.
      using connection = await new Client(addresses[0]!).connect();
      const commitment = computeCommitment(authority, makeRandomValue(32));
      const message = encodeMessage({ authority, name: "stranger", addresses: [], commitment });
      const { status } = await connection.post("/commitment", {}, message);
      if (status !== 200) i--; // the last try is still running
    }
  }
  console.log("done");
}

/** Announces a device without an invitation, until it has received three requests. */
async function announceNothing(): Promise<void> {
  const requestsReceived = Promise.withResolvers<void>();
  let requestCount = 0;
  await using server = await Server.start(["0.0.0.0", 0], () => {
    if (++requestCount === 3) requestsReceived.resolve();
    return [404, "Not Found", {}, null];
  });
  const service = { name: "none", id: "z".repeat(52), port: server.port, type: PAIR_SERVICE };
  await using _announcement = new Announcement({ ...service, logger: SILENT });
  await requestsReceived.promise;
  console.log("done");
}

if (task !== undefined) {
  await (task === "announce" ? announceNothing() : disturb());
  Deno.exit();
}

const addresses = { one: "192.168.1.7/24", two: "192.168.1.8/24", three: "192.168.1.9/24" };
const { one, two, three } = await makeNetwork(dir, addresses);
const type = await install(dir);
const startStranger = (strangerTask: string, devices = 1) =>
  new RunningProcess(
    makeProgramCommand("agent_pair_strangers.ts", {
      flags: [
        "--allow-net",
        "--allow-sys=networkInterfaces,uid",
        `--allow-read=${dir}`,
        `--allow-write=${dir}`,
        ...importMapFlags(),
      ],
      args: [three.dir, strangerTask, `${devices}`],
      through: ["ip", "netns", "exec", "three"],
    }).spawn(),
  );
const scenes: Record<string, { code: number; shown: string }> = {};
const waitForResult = async (name: string, agent: RunningAgent) => {
  const { code, stdout: shown } = await agent.waitForEnd();
  scenes[name] = { code, shown };
};
{
  await using stranger = startStranger("ask");
  await using agent = type(one, "degu pair");
  for (let i = 0; i < 5; i++) {
    const number = await stranger.waitForStdout(/\d{3} \d{3}\n/);
    await agent.waitForLine(number.trim());
    stranger.child.kill("SIGUSR1");
  }
  await stranger.waitForStdout(/done\n/);
  await waitForResult("five numbers", agent);
}
{
  await using _stranger = startStranger("commit");
  await using agent = type(one, "degu pair");
  await waitForResult("used up alone", agent);
}
{
  await using stranger = startStranger("commit", 2);
  await using agent = type(one, "degu pair");
  await using otherAgent = type(two, "degu pair");
  await stranger.waitForStdout(/done\n/);
  await confirmNumbers(agent, otherAgent);
  await waitForResult("used up", agent);
}
{
  await using stranger = startStranger("announce");
  await using agent = type(one, "degu pair");
  await stranger.waitForStdout(/done\n/);
  agent.writeInput("\x03");
  await waitForResult("joined three times", agent);
}
{
  await using init = type(three, "degu init --name two");
  await init.waitForEnd();
  await using _two = type(two, "degu pair");
  await using _other = type(three, "degu pair");
  await using agent = type(one, "degu pair");
  await agent.waitForLine("Type its number");
  agent.writeInput("\x04");
  await waitForResult("two of a name", agent);
}
console.log(JSON.stringify(scenes));
Deno.exit();
