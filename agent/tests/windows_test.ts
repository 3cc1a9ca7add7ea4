/** The differences on Windows that every system can test. */
import { windowsDeletions } from "@degu/internal/internal/disk/deleting.ts";
import { makeEntryPath } from "@degu/internal/agent/download_target.ts";
import { findHome, findHomeDirectory } from "@degu/internal/agent/open_device.ts";
import { isRemotePath, parseRemotePath } from "@degu/internal/agent/remote_files.ts";
import { AgentHomes } from "@degu/testing/agents.ts";
import { fill } from "@degu/testing/directories.ts";
import { HOSTILE_NAMES } from "@degu/testing/hostile_names.ts";
import { patch } from "@degu/testing/patching.ts";
import { assertEquals, assertThrows } from "@std/assert";

/** Runs as on Windows, on which deleting is disabled. */
function setWindows(): Disposable {
  const stack = new DisposableStack();
  stack.use(patch(Deno, "build", (build) => ({ ...build, os: "windows" as const })));
  stack.use(patch(windowsDeletions, "areTested", () => false));
  return stack;
}

Deno.test("on Windows a single letter before a colon is a drive, and a longer name is a peer", () => {
  const id = "a".repeat(52);
  assertEquals(
    ["C:x", "c:\\x", "C:/x", "x:"].map(isRemotePath),
    Array(4).fill(
      Deno.build.os !== "windows",
    ),
  );
  using _windows = setWindows();
  for (const path of ["C:x", "c:\\x", "C:/x", "x:", "dir\\a:b", ".\\a:b"]) {
    assertEquals(isRemotePath(path), false, path);
  }
  for (const [path, peer] of [["camera:x", "camera"], [`${id}:x`, id], ["ab:", "ab"]] as const) {
    assertEquals(parseRemotePath(path).peer, peer);
  }
});

Deno.test("on Windows the device is in the local data of the profile, and no other variable is read", () => {
  using _windows = setWindows();
  const values: Record<string, string> = { LOCALAPPDATA: "/local", USERPROFILE: "/profile" };
  const read: string[] = [];
  using _environment = patch(Deno.env, "get", () => (name) => {
    read.push(name);
    return values[name];
  });
  assertEquals([findHome(undefined), findHomeDirectory()], ["/local/degu", "/profile"]);
  assertEquals(read, ["LOCALAPPDATA", "USERPROFILE"]);
  delete values["LOCALAPPDATA"];
  assertThrows(() => findHome(undefined), Error, "LOCALAPPDATA is not set: name the directory");
});

Deno.test("on Windows no command deletes: each command reports it before its first request", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  await homes.pair("camera", "viewer");
  await fill(homes.path, { "here/a": "1" });
  const here = homes.joinPath("here");
  using _windows = setWindows();
  const rows: Record<string, string[]> = {
    "rm": ["rm", "camera:a"],
    "--delete": ["sync", "--delete", here, "camera:"],
    "--move": ["sync", "--move", here, "camera:"],
  };
  for (const [what, args] of Object.entries(rows)) {
    await homes.runToFailure(
      "viewer",
      1,
      `${what}: not tested on Windows yet: no file is deleted`,
      args,
    );
  }
  const args = ["put", "--move", `${here}/a`, "camera:"];
  await homes.runToFailure(
    "viewer",
    1,
    "--move: not tested on Windows yet: no file is deleted",
    args,
  );
  assertEquals(await Deno.readTextFile(`${here}/a`), "1");
});

Deno.test("on Windows a path of this device never contains a hostile name of a peer", () => {
  using _windows = setWindows();
  for (const name of HOSTILE_NAMES) {
    assertThrows(() => makeEntryPath("/dir", name), Error, "the disk can't hold the name", name);
  }
});
