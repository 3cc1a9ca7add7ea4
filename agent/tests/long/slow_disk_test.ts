/**
 * Transfers from and to a disk that does one operation at a time, and each sync or read slowly: a
 * busy server or client is no stall.
 */
import { AgentHomes, spawnAgent } from "@degu/testing/agents.ts";
import { makeOddDiskScript } from "../../../files/tests/odd_disk.ts";
import { parseAddress } from "@degu/degu/base";
import { recordAt } from "@degu/testing/device_pairs.ts";
import { canRun } from "@degu/internal/files/tests/refused_writes.ts";
import { assert, assertEquals } from "@std/assert";

/** With a quarter of a second each, the files take longer than the ten seconds of a stall. */
const FILES = 64;
const SYNCS = "slow-fsync 250 ms .";
const READS = "slow-read 250 ms /f[0-9]+$";

interface Row {
  readonly name: string;
  /** The device with the slow disk, which is the directory `disk` of its own. */
  readonly slow: "camera" | "laptop";
  readonly fault: string;
  /** The directory of the files. */
  readonly source: string;
  readonly command: (path: string) => readonly string[];
}

const rows: readonly Row[] = [
  {
    name: "put -r to a server that syncs each file slowly",
    slow: "camera",
    fault: SYNCS,
    source: "files",
    command: (path) => ["put", "-r", `${path}/files`, "camera:"],
  },
  {
    name: "get -r from a server that reads each file slowly",
    slow: "camera",
    fault: READS,
    source: "backing/share",
    command: (path) => ["get", "-r", "camera:", `${path}/got`],
  },
  {
    name: "put -r from a slow disk",
    slow: "laptop",
    fault: READS,
    source: "backing/files",
    command: (path) => ["put", "-r", `${path}/disk/files`, "camera:"],
  },
  {
    name: "get -r to a slow disk",
    slow: "laptop",
    fault: SYNCS,
    source: "share",
    command: (path) => ["get", "-r", "camera:", `${path}/disk/got`],
  },
];

/** A shell that may mount. If it is killed, so are the disk and the program. */
const IN_NAMESPACE = ["unshare", "-rmpf", "--mount-proc", "--kill-child", "sh", "-c"];

async function makeSlowDiskCommand(path: string): Promise<string[]> {
  return [...IN_NAMESPACE, await makeOddDiskScript(path, 'plain "$0/faults"'), path];
}

async function canBeSlow(): Promise<boolean> {
  await using homes = await AgentHomes.create();
  await Deno.writeTextFile(homes.joinPath("faults"), "");
  return await canRun(...await makeSlowDiskCommand(homes.path));
}

const mayMount = await canBeSlow();

for (const { name, slow, fault, source, command } of rows) {
  Deno.test({
    name: `${name}: no connection is replaced, and each file is written once (needs unshare)`,
    ignore: !mayMount,
    async fn() {
      await using homes = await AgentHomes.create("camera", "laptop");
      const { path } = homes;
      await Deno.writeTextFile(`${path}/faults`, `${fault}\n`);
      const through = await makeSlowDiskCommand(path);
      const spawn = (device: string, ...args: string[]) =>
        spawnAgent(["--home", `${path}/${device}`, ...args], {
          flags: ["--allow-all"],
          ...(device === slow ? { through } : {}),
        });
      const disk = slow === "camera" ? `${path}/disk` : path;
      for (const dir of ["backing/share", "share", source]) {
        await Deno.mkdir(`${path}/${dir}`, { recursive: true });
      }
      for (let i = 0; i < FILES; i++) {
        await Deno.writeTextFile(`${path}/${source}/f${i}`, "x".repeat(1000));
      }
      await recordAt(`${path}/camera`, `${path}/laptop`, "laptop");
      const served = ["--inbox", `${disk}/inbox`, "--share", `${disk}/share`];
      const serveArgs = ["serve", "--listen", "127.0.0.1:0", "--json", ...served];
      await using server = spawn("camera", ...serveArgs);
      const { addresses: [address] } = JSON.parse(await server.waitForLine());
      await recordAt(`${path}/laptop`, `${path}/camera`, "camera", parseAddress(address));
      const [commandName = "", ...args] = command(path);
      await using agent = spawn("laptop", commandName, "--no-find", ...args);
      const { code, stderr } = await agent.waitForEnd(300);
      assertEquals(code, 0, stderr);
      assert(stderr.startsWith(`${FILES} files copied`), stderr);
      const slowPaths = (await Deno.readTextFile(`${path}/faults.slow`)).trim().split("\n");
      const files = slowPaths.filter((path) => /\/(put-\w+|f\d+|.*\.degu-part)$/.test(path));
      assertEquals(files.length, FILES);
      assertEquals(new Set(files).size, FILES);
    },
  });
}
