/** Pairing between processes, and the permissions that it needs. */
import { RunningProcess } from "@degu/testing/processes.ts";
import { makeProgramCommand } from "@degu/testing/programs.ts";
import { readStatedNumber } from "@degu/testing/stated.ts";
import { assert, assertEquals } from "@std/assert";
import { join } from "@degu/internal/files/disk/paths.ts";
import { makeDevices, type PairingDevice, RawJoiner } from "./pairing.ts";

/** Starts a process that invites, joins, or serves and invites, with the device of a directory. */
function start({ dir }: PairingDevice, ...args: string[]): RunningProcess {
  // --allow-sys=networkInterfaces isn't needed if the addresses are given.
  const paths = [`--allow-read=${dir}`, `--allow-write=${dir}`];
  const flags = ["--allow-net=127.0.0.1,0.0.0.0", "--allow-sys=uid", ...paths];
  const stdin = args[0] === "ask" ? "piped" : "null";
  const command = makeProgramCommand("pairing_device.ts", { flags, args: [dir, ...args] }, stdin);
  return new RunningProcess(command.spawn());
}

/** Returns the line of a process that invites, which prints it first. */
const lineOf = async (inviting: RunningProcess) =>
  (await inviting.waitForStdout(/^.*\n/)).trimEnd();

/** Makes the log line of a device without a server, whose address another device doesn't get. */
const makeAddressWarning = (peerName: string) =>
  `pairing: ${peerName} got no address of this device, because no server of this device listens ` +
  "where other machines can connect: serve before the pairing, or set `serving`; [] if this " +
  "device never serves\n";

Deno.test("two processes pair with exactly the permissions that they need", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using inviting = start(camera, "invite");
  const line = await lineOf(inviting);
  await using joining = start(viewer, "join", line);
  assertEquals(await joining.waitForEnd(), {
    success: true,
    stdout: "camera\n",
    stderr: `join: paired with camera (${camera.id})\n${makeAddressWarning("camera")}`,
  });
  assertEquals(await inviting.waitForEnd(), {
    success: true,
    stdout: `${line}\nviewer\n`,
    stderr: `invitation: paired with viewer (${viewer.id})\n${makeAddressWarning("viewer")}`,
  });
  assertEquals((await camera.peers()).map(({ id }) => id), [viewer.id]);
  assertEquals((await viewer.peers()).map(({ id }) => id), [camera.id]);
});

Deno.test("right after a pairing each device can connect to the other, even if another process serves", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using atCamera = start(camera, "only-serve");
  await using atViewer = start(viewer, "only-serve");
  const portOf = async (serving: RunningProcess) => Number(await serving.waitForStdout(/^\d+\n/));
  const [toCamera, toViewer] = [await portOf(atCamera), await portOf(atViewer)];
  const isKnown = async (device: PairingDevice, peer: string, port: number) => {
    const client = await device.device.client(peer, { addresses: [["127.0.0.1", port]] });
    assertEquals((await client.request("GET", "/")).status, 204);
  };
  await using invitation = await camera.invite();
  const joined = viewer.join(invitation.line).then(({ id }) => isKnown(viewer, id, toCamera));
  const paired = invitation.paired.then(({ id }) => isKnown(camera, id, toViewer));
  await Promise.all([joined, paired]);
});

Deno.test("a server that doesn't read the peers delays a pairing for as long as device/docs/device.md says", async () => {
  const seconds = await readStatedNumber(
    "device/docs/device.md",
    /accept the new peer, for up to ([\d.]+) s/,
  );
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const path = join(camera.dir, "serving", "0123456789abcdef");
  await Deno.writeTextFile(path, "127.0.0.1:9");
  using lockedFile = await Deno.open(path, { write: true });
  await lockedFile.lock(true);
  await using invitation = await camera.invite();
  const begin = performance.now();
  await viewer.join(invitation.line);
  const took = performance.now() - begin;
  assert(took >= seconds * 1000, `${took}`);
  assertEquals((await invitation.paired).id, viewer.id);
});

Deno.test("a joiner by number gets its response before a question blocks the inviter's process", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using inviting = start(camera, "ask");
  const addresses = JSON.parse(await lineOf(inviting));
  using joiner = await RawJoiner.commit({ addresses }, viewer);
  await joiner.reveal();
  const person = inviting.child.stdin.getWriter();
  await person.write(new TextEncoder().encode("y"));
  await person.close();
  using confirmed = await joiner.confirm();
  assertEquals(await confirmed.readResponseText(200), "{}");
  await inviting.waitForEnd();
  assertEquals((await camera.peers()).map(({ id }) => id), [viewer.id]);
});
