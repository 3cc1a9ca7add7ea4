/**
 * What docs/agent.md says of permissions: each command works in a process with exactly the flags of its row, and without any one of them
 * it fails and says which one is missing.
 */
import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { makeProgram } from "@degu/internal/agent/program.ts";
import type { AgentHomes } from "@degu/testing/agents.ts";
import {
  type AgentCase,
  type AgentCases,
  assertMissing,
  documentedFlags,
  type PermissionSetup,
  runAgentCases,
} from "@degu/testing/agent_permissions.ts";
import { record, TestDevices } from "@degu/testing/device_pairs.ts";
import { flagsOf } from "@degu/testing/permission_cases.ts";

/** `degu init`, of a directory that is not there. */
function initCase({ homes }: PermissionSetup, name: string, ...args: string[]): AgentCase {
  const path = homes.at(name);
  const before = () => Deno.remove(path, { recursive: true }).catch(() => {});
  return { args: ["--home", path, "init", ...args], values: { HOME: path }, before };
}

/** Commands that touch nothing but the device. */
const OF_DEVICE: AgentCases = {
  "completions": ({ at }) => ({ args: at("completions", "bash"), values: {} }),
  "init": (setup) => initCase(setup, "unnamed"),
  "init --name NAME": (setup) => initCase(setup, "named", "--name", "x"),
  "id": ({ at, home }) => ({ args: at("id"), values: { HOME: home } }),
  "id, without --home": async ({ homes }) => {
    await homes.must("state/degu", ["init", "--name", "x"]);
    const env = { XDG_STATE_HOME: homes.at("state"), HOME: "" };
    return { args: ["id"], values: { HOME: homes.at("state", "degu") }, env };
  },
  "peers": ({ at, home }) => ({ args: at("peers"), values: { HOME: home } }),
  "rename": ({ at, home }) => ({
    args: at("rename", "camera", "camera"),
    values: { HOME: home },
    without: "sys=uid",
  }),
  "forget": async ({ homes }) => {
    await homes.init("old");
    await homes.pair("camera", "old");
    const home = homes.at("old");
    return { args: ["--home", home, "forget", "camera"], values: { HOME: home } };
  },
};

/** Commands that pair, serve and connect. */
const OF_NETWORK: AgentCases = {
  "invite": ({ at, home }) => ({
    args: at("invite"),
    values: { HOME: home },
    until: "degu:",
    code: 130,
  }),
  "invite --listen ADDRESS --serving ADDRESS": ({ at, home }) => ({
    args: at("invite", "--listen", "127.0.0.1:0", "--serving", "127.0.0.1:7443"),
    values: { HOME: home, ADDRESS: "127.0.0.1:0" },
    until: "degu:",
    code: 130,
  }),
  "join --serving ADDRESS": async ({ homes }) => {
    await homes.init("guest");
    const args = ["invite", "--listen", "127.0.0.1:0", "--serving", "127.0.0.1:1"];
    const invite = homes.start("camera", args);
    return {
      args: ["--home", homes.at("guest"), "join", "-", "--serving", "127.0.0.1:2"],
      values: { HOME: homes.at("guest"), INVITER: "127.0.0.1" },
      without: "write=HOME",
      stdin: await invite.line("degu:"),
    };
  },
  "serve --listen ADDRESS --share SHARE --inbox INBOX": ({ at, home, share, inbox }) => ({
    args: at("serve", "--listen", "127.0.0.1:0", "--share", share, "--inbox", inbox),
    values: { HOME: home, SHARE: share, INBOX: inbox, ADDRESS: "127.0.0.1:0" },
    without: "read=HOME",
    until: "serving",
  }),
  "ping": ({ at, home, peer }) => ({
    args: at("ping", "camera"),
    values: { HOME: home, PEER: peer },
  }),
};

/** Commands that move files. */
const OF_FILES: AgentCases = {
  "ls": ({ at, home, peer }) => ({
    args: at("ls", "camera:"),
    values: { HOME: home, PEER: peer },
  }),
  "get PEER:PATH... TARGET": async ({ at, homes, home, peer, share }) => {
    await Deno.writeTextFile(join(share, "shared"), "x");
    const target = await newDirectory(homes, "target");
    return {
      args: at("get", "camera:shared", target),
      values: { HOME: home, PEER: peer, TARGET: target },
      without: "write=HOME",
    };
  },
  "put FILE PEER:PATH": async ({ at, homes, home, peer }) => {
    const file = homes.at("file");
    await Deno.writeTextFile(file, "x");
    const values = { HOME: home, PEER: peer, FILE: file };
    return { args: at("put", file, "camera:"), values, without: "sys=uid" };
  },
  "rm": async ({ at, home, peer, inbox }) => {
    await Deno.writeTextFile(join(inbox, "old"), "x");
    return { args: at("rm", "camera:old"), values: { HOME: home, PEER: peer } };
  },
  "sync PEER:DIR DIR": async ({ at, homes, home, peer, share }) => {
    await Deno.mkdir(join(share, "dir"));
    await Deno.writeTextFile(join(share, "dir", "file"), "x");
    const dir = await newDirectory(homes, "synced");
    const values = { HOME: home, PEER: peer, DIR: dir };
    return { args: at("sync", "camera:dir", dir), values, without: "read=HOME" };
  },
  "sync DIR PEER:DIR": async ({ at, homes, home, peer }) => {
    const dir = await newDirectory(homes, "own");
    await Deno.writeTextFile(join(dir, "file"), "x");
    return { args: at("sync", dir, "camera:there"), values: { HOME: home, PEER: peer, DIR: dir } };
  },
};

async function newDirectory(homes: AgentHomes, name: string): Promise<string> {
  const path = homes.at(name);
  await Deno.mkdir(path);
  return path;
}

Deno.test("commands that only use the device need the flags of their rows", async () => {
  await runAgentCases(OF_DEVICE);
});

Deno.test("commands that pair, serve and connect need the flags of their rows", async () => {
  await runAgentCases(OF_NETWORK);
});

Deno.test("commands that transfer files need the flags of their rows", async () => {
  await runAgentCases(OF_FILES);
});

Deno.test("--announce and --find need the groups of mDNS, and the interfaces", async () => {
  await using devices = await TestDevices.create();
  const [camera, viewer] = [await devices.open("camera"), await devices.open("viewer")];
  await record(viewer, camera, { addresses: [["127.0.0.1", 1]] });
  const home = viewer.dir;
  const groups = "net=224.0.0.251:5353";
  const device = [`read=${home}`, `write=${home}`, "sys=uid"];
  const commands = [
    { words: ["serve", "--listen", "127.0.0.1:0", "--announce"], net: "net=127.0.0.1:0" },
    { words: ["ping", "--find", "camera"], net: "net=127.0.0.1:1" },
  ];
  // With both they would speak on every interface: tests/integration/agent_network_test.ts does, in namespaces.
  for (const { words, net } of commands) {
    const args = ["--home", home, ...words];
    for (const more of [groups, "sys=networkInterfaces"]) {
      const flags = flagsOf([...device, net, more]);
      await assertMissing(`${words.join(" ")} with ${flags.join(" ")}`, { args, flags });
    }
  }
});

Deno.test("every command has a row, and every row a test", async () => {
  const rows = [...(await documentedFlags()).keys()];
  const cases = { ...OF_DEVICE, ...OF_NETWORK, ...OF_FILES };
  assertEquals(rows.toSorted(), Object.keys(cases).toSorted());
  for (const command of makeProgram(() => () => Promise.resolve()).commands) {
    assert(rows.some((row) => row.split(/[ ,]/)[0] === command.name()), command.name());
  }
});
