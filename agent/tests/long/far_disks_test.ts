/** Disks of other machines, such as NFS, SMB and sshfs, which report the errors of their connection. */
import { AgentHomes, runAgent } from "@degu/testing/agents.ts";
import { fill } from "@degu/testing/directories.ts";
import { findObstacle } from "@degu/testing/commands.ts";
import { findMountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";
import { makeOddDiskScript } from "@degu/testing/odd_disk.ts";
import { testUnless } from "@degu/testing/terminals.ts";
import { assertEquals, assertMatch } from "@std/assert";

const obstacle = await findMountObstacle() ??
  await findObstacle(["python3", "-c", "import os; os.stat('/dev/fuse')"]);
const CODES = ["ETIMEDOUT", "ECONNRESET", "ENOTCONN", "EHOSTDOWN", "EIO", "ESTALE"];

testUnless(
  obstacle,
  "an error of a local disk fails its file alone, at once and with its path, and the peer is not blamed",
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
      assertEquals(/connecting again|the peer|no address|closed the connection/.test(text), false);
      return { ...end, text };
    };
    const viewer = homes.joinPath("viewer");
    for (const code of CODES) {
      const put = ["put", "--no-find", "--json", "-r", `${dir}/disk/source`, "camera:"];
      const get = ["get", "--no-find", "--json", "-r", "camera:", `${dir}/disk/target`];
      const operations: [fault: string, args: string[]][] = [
        [`read 0 ${code} /source/bad`, put],
        [`open 0 ${code} /source/bad`, put],
        // Parts and temporary files have names of their own.
        [`write 0 ${code} /target/`, get],
        [`fsync 0 ${code} /target/`, get],
        [`rename 0 ${code} /target/bad`, get],
      ];
      for (const [fault, args] of operations) {
        for await (const { name } of Deno.readDir(`${dir}/backing/target`)) {
          await Deno.remove(`${dir}/backing/target/${name}`);
        }
        const { stdout, text } = await run(fault, viewer, ...args);
        const failures = stdout.split("\n").filter((line) => line.includes('"error"'));
        assertMatch(failures.join("\n"), /bad-large/, text);
        for (const line of failures) assertMatch(line, /"code":"FAILED"|"code":"INCOMPLETE"/, text);
        assertMatch(
          text,
          new RegExp(`disk[^"]* \\\\".*/(?:source|target).*\\((?:${code}|UNKNOWN)\\)`),
        );
      }
    }
    // The directory of the device itself is on such a disk.
    await Deno.rename(viewer, `${dir}/backing/viewer`);
    for (const code of CODES) {
      const fault = `open 0 ${code} /viewer/peers`;
      const args = ["ls", "--no-find", "camera:"];
      const { text } = await run(fault, `${dir}/disk/viewer`, ...args);
      assertMatch(text, /disk.*viewer\/peers/);
    }
  },
);
