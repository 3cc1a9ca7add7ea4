/** Disks of other machines, such as NFS, SMB and sshfs, which report the errors of their connection. */
import { AgentHomes, runAgent, spawnAgent } from "@degu/testing/agents.ts";
import { fill } from "@degu/testing/directories.ts";
import { THROUGH_MOUNT_NAMESPACE, THROUGH_PROCESS_NAMESPACE } from "@degu/testing/namespaces.ts";
import { findOddDiskObstacle, makeOddDiskScript } from "../../../files/tests/odd_disk.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { assertEquals, assertMatch } from "@std/assert";

const obstacle = await findOddDiskObstacle();
/** The codes, and the reasons of the system. Node has no text for the last code. */
const REASONS: readonly (readonly [code: string, reason: string])[] = [
  ["ETIMEDOUT", "connection timed out"],
  ["ECONNRESET", "connection reset by peer"],
  ["ENOTCONN", "(?:socket|transport endpoint) is not connected"],
  ["EHOSTDOWN", "host is down"],
  ["EIO", "(?:i/o|input/output) error"],
  ["ESTALE", "(?:stale file handle|unknown error \\((?:UNKNOWN|errno 116)\\))"],
];

Deno.test(
  "an error of a local disk fails its file alone, at once and with its path, and the peer is not blamed",
  ignoreIf(obstacle),
  async () => {
    await using homes = await AgentHomes.create("camera", "viewer");
    await homes.pair("camera", "viewer");
    const files = { bad: "1", "bad-large": "x".repeat(200_000), good: "2" };
    await fill(homes.joinPath("disk"), { "backing/source": null, "backing/target": null });
    await fill(homes.joinPath("disk/backing/source"), files);
    await fill(homes.joinPath("share"), files);
    const shared = ["--share", homes.joinPath("share"), "--inbox", homes.joinPath("inbox")];
    await homes.serve("camera", shared, "viewer");
    const dir = homes.joinPath("disk");
    const script = await makeOddDiskScript(dir, 'plain "$0/faults"');
    const run = async (fault: string, home: string, ...args: string[]) => {
      await Deno.writeTextFile(`${dir}/faults`, `${fault}\n`);
      const through = [...THROUGH_MOUNT_NAMESPACE, "sh", "-c", script, dir];
      const end = await runAgent(["--home", home, ...args], { flags: ["--allow-all"], through });
      const text = `${fault}: ${end.stdout}${end.stderr}`;
      assertEquals(end.code, 1, text);
      const blame = /connecting again|camera (does|has|closed|can)|connection to camera/;
      assertEquals(blame.test(text), false);
      return { ...end, text };
    };
    const viewer = homes.joinPath("viewer");
    for (const [code, reason] of REASONS) {
      const putArgs = ["put", "--no-find", "--json", "-r", `${dir}/disk/source`, "camera:"];
      const getArgs = ["get", "--no-find", "--json", "-r", "camera:", `${dir}/disk/target`];
      const operations: [fault: string, args: string[]][] = [
        [`read 0 ${code} /source/bad`, putArgs],
        [`open 0 ${code} /source/bad`, putArgs],
        // Parts and temporary files have names of their own.
        [`write 0 ${code} /target/`, getArgs],
        [`fsync 0 ${code} /target/`, getArgs],
        [`rename 0 ${code} /target/bad`, getArgs],
      ];
      for (const [fault, args] of operations) {
        for await (const { name } of Deno.readDir(`${dir}/backing/target`)) {
          await Deno.remove(`${dir}/backing/target/${name}`);
        }
        const { stdout, text } = await run(fault, viewer, ...args);
        const failures = stdout.split("\n").filter((line) => line.includes('"error"'));
        assertMatch(failures.join("\n"), /bad-large/, text);
        for (const line of failures) assertMatch(line, /"code":"FAILED"|"code":"INCOMPLETE"/, text);
        const ofDisk = `/disk/(?:source|target)[^"]*\\\\": ${reason}"`;
        assertMatch(text, new RegExp(ofDisk));
      }
    }
    // The directory of the device itself is on such a disk.
    await Deno.rename(viewer, `${dir}/backing/viewer`);
    for (const [code] of REASONS) {
      const fault = `open 0 ${code} /viewer/peers`;
      const args = ["ls", "--no-find", "camera:"];
      const { text } = await run(fault, `${dir}/disk/viewer`, ...args);
      assertMatch(text, /disk.*viewer\/peers/);
    }
  },
);

Deno.test(
  "while a device can't read whom it trusts, its peer gets 503 and is not refused, and works again when the disk does",
  ignoreIf(obstacle),
  async () => {
    await using homes = await AgentHomes.create("camera", "viewer");
    await homes.pair("camera", "viewer");
    const dir = homes.joinPath("disk");
    await fill(dir, { backing: null, faults: "" });
    await Deno.rename(homes.joinPath("camera"), `${dir}/backing/camera`);
    await fill(homes.path, { file: "1", inbox: null });
    const script = await makeOddDiskScript(dir, 'plain "$0/faults"');
    const serveArgs = ["serve", "--listen", "127.0.0.1:0", "--json"];
    await using server = spawnAgent(
      ["--home", `${dir}/disk/camera`, ...serveArgs, "--inbox", homes.joinPath("inbox")],
      // With a namespace of its own, the disk and the server end with the killed command.
      { flags: ["--allow-all"], through: [...THROUGH_PROCESS_NAMESPACE, "sh", "-c", script, dir] },
    );
    const { addresses: [address] } = JSON.parse(await server.waitForLine());
    const args = ["put", "--address", address, homes.joinPath("file"), "camera:"];
    const put = (name: string) => homes.run("viewer", [...args.slice(0, -1), `camera:${name}`]);
    const names = ["EIO", "EMFILE"];
    for (const code of names) {
      await Deno.writeTextFile(`${dir}/faults`, `open 0 ${code} /camera/peers/.+\n`);
      const { code: exitCode, stderr } = await put(code);
      assertMatch(stderr, /503|too many open files/, code);
      assertEquals([exitCode, /pair|trust/.test(stderr)], [1, false], stderr);
    }
    await Deno.writeTextFile(`${dir}/faults`, "");
    for (const code of names) {
      const { code: exitCode, stderr } = await put(code);
      assertEquals(exitCode, 0, stderr);
    }
  },
);
