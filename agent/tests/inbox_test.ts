/**
 * The inbox of degu serve: a directory for each peer, or one for all, and the permissions of peers.
 */
import { realPath } from "@degu/internal/internal/paths.ts";
import { BodyIter } from "@degu/degu/base";
import type { Client } from "@degu/degu/client";
import { Device } from "@degu/degu/device";
import { Inbox, makeRefusal } from "@degu/internal/agent/serve/inbox.ts";
import { AgentFiles } from "./agent_files.ts";
import { AgentHomes } from "@degu/testing/agents.ts";
import { recordIntervals } from "@degu/testing/clock.ts";
import { sha256Of } from "../../files/tests/bundles.ts";
import { createTempDir, fill, listNames, readMode, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assertSynced, recordSyncedPaths } from "@degu/testing/synced.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";

/** Makes a camera with an inbox, and two peers, each with a directory of files to send. */
async function setUpDevices(...options: string[]) {
  const homes = await AgentHomes.create();
  const [, one, two] = await homes.init("camera", "one", "two");
  await homes.pair("camera", "one");
  await homes.pair("camera", "two");
  const inbox = homes.joinPath("inbox");
  await fill(homes.path, {
    "from-one/photo": "of one",
    "from-one/tree/a": "one",
    "from-two/photo": "of two",
    "from-two/tree/b": "two",
  });
  const inboxOptions = options.length > 0 ? options : ["--inbox", inbox];
  const { agent } = await homes.serve("camera", inboxOptions, "one", "two");
  const ids = { one: one!, two: two! };
  const sourcePath = (name: string, path: string) => homes.joinPath(`from-${name}`, path);
  return {
    homes,
    inbox,
    ids,
    agent,
    sourcePath,
    /** Puts the files of the peer "one". */
    async putAllOfOne() {
      const paths = ["photo", "tree"].map((path) => sourcePath("one", path));
      await homes.runToSuccess("one", ["put", "-r", ...paths, "camera:"]);
    },
    [Symbol.asyncDispose]: () => homes[Symbol.asyncDispose](),
  };
}

/** Returns the content of an inbox, without the directories for unfinished files. */
async function filesIn(inbox: string): Promise<Record<string, string | null>> {
  const all = Object.entries(await readTree(inbox));
  return Object.fromEntries(all.filter(([path]) => !path.includes(".degu-files")));
}

async function clientOf(device: Device): Promise<Client> {
  return await device.client("camera", { timeout: 10 });
}

Deno.test("each peer has its own directory: another peer can't list, get, replace or delete its files", async () => {
  await using devices = await setUpDevices();
  const { homes, inbox, sourcePath } = devices;
  await devices.putAllOfOne();
  assertEquals(await readMode(`${inbox}/one`), 0o700);
  await homes.runToSuccess("one", ["sync", sourcePath("one", "tree"), "camera:synced"]);
  const ofOne = { "photo": "of one", "tree": null, "tree/a": "one" };
  const wholeOfOne = { ...ofOne, "synced": null, "synced/a": "one" };
  assertEquals(await readTree(`${inbox}/one`), wholeOfOne);
  // ls and get.
  for (const path of ["", "one", "one/", "../one", "photo"]) {
    const { stdout } = await homes.run("two", ["ls", "--inbox", `camera:${path}`]);
    assertEquals(stdout, "", path);
  }
  const back = homes.joinPath("back");
  for (const operands of [["camera:photo", back], ["-r", "camera:tree", back]]) {
    await homes.runToFailure("two", 1, "does not exist", ["get", "--inbox", ...operands]);
  }
  // rm.
  for (const path of ["photo", "one/photo", "synced"]) {
    await homes.runToFailure("two", 1, "does not exist", ["rm", "-r", `camera:${path}`]);
  }
  // put and sync, into the same names.
  await homes.runToSuccess("two", ["put", sourcePath("two", "photo"), "camera:"]);
  await homes.runToSuccess("two", ["put", "-r", "--force", sourcePath("two", "tree"), "camera:"]);
  await homes.runToSuccess("two", ["sync", "--delete", sourcePath("two", "tree"), "camera:synced"]);
  const ofTwo = { "photo": "of two", "tree": null, "tree/b": "two", "synced": null };
  assertEquals(await readTree(`${inbox}/two`), { ...ofTwo, "synced/b": "two" });
  // A peer can also delete the whole content of its own directory.
  const wholeInbox = ["sync", "--delete", sourcePath("two", "tree"), "camera:"];
  for (
    const args of [wholeInbox, [...wholeInbox, "--dry-run"], [
      "service",
      "install",
      "--print",
      ...wholeInbox,
    ]]
  ) {
    await homes.runToFailure("two", 2, '"camera:" is the whole inbox', args);
  }
  assertEquals(await readTree(`${inbox}/two`), { ...ofTwo, "synced/b": "two" });
  await homes.runToSuccess("two", [...wholeInbox, "--delete-all"]);
  await homes.runToSuccess("two", ["rm", "camera:b"]);
  await homes.runToSuccess("two", ["sync", "--inbox", "--delete", "camera:", back]);
  assertEquals([await readTree(`${inbox}/two`), await readTree(back)], [{}, {}]);
  assertEquals(await readTree(`${inbox}/one`), wholeOfOne);
  await homes.runToSuccess("one", ["get", "--inbox", "-r", "camera:", back]);
  assertEquals(await readTree(back), wholeOfOne);
});

Deno.test("no path that a peer can send leads out of its directory", async () => {
  await using devices = await setUpDevices();
  const { homes, inbox, sourcePath } = devices;
  await homes.runToSuccess("one", ["put", sourcePath("one", "photo"), "camera:"]);
  await using two = await Device.open(homes.joinPath("two"));
  const client = await clientOf(two);
  const bytes = new TextEncoder().encode("x");
  for (
    const path of [
      "../one/photo",
      "..%2Fone%2Fphoto",
      "%2E%2E/one/photo",

      "..;/one/photo",
      "/one/photo",
    ]
  ) {
    for (const method of ["GET", "PUT", "DELETE"] as const) {
      const body = method === "PUT" ? bytes : null;
      const status = await client.request(method, `/inbox/${path}`, {}, body)
        .then(({ status }) => status, () => null);
      assert(status === null || status >= 400, `${method} ${path}: ${status}`);
    }
  }
  // The server doesn't reuse a file of device one for device two, even if two knows its digest.
  const hash = Uint8Array.fromHex(sha256Of(new TextEncoder().encode("of one")));
  const digest = `sha-256=:${hash.toBase64()}:`;
  const length = { "upload-length": "6", "upload-offset": "6", "repr-digest": digest };
  for (const path of ["/photo", "/one/photo", "/../one/photo", "/inbox/one/photo"]) {
    const headers = { ...length, "reuse": `"${path}";length=6` };
    const { status } = await client.request("PUT", "/inbox/copy", headers, new Uint8Array());
    assertEquals(status, 404, path);
  }
  assertEquals((await client.request("PUT", "/inbox/one/photo", {}, bytes)).status, 201);
  assertEquals(await filesIn(inbox), {
    ...{ "one": null, "one/photo": "of one" },
    ...{ "two": null, "two/one": null, "two/one/photo": "x" },
  });
});

Deno.test("--inbox-for-all: each peer sees, replaces and deletes the files of the others", async () => {
  await using dir = await createTempDir();
  const inbox = `${dir.path}/all`;
  await using devices = await setUpDevices("--inbox-for-all", inbox);
  const { homes, sourcePath } = devices;
  await devices.putAllOfOne();
  assertEquals(await homes.runToSuccess("two", ["ls", "camera:"]), "photo\ntree/\n");
  await homes.runToSuccess("two", ["put", "--force", sourcePath("two", "photo"), "camera:"]);
  await homes.runToSuccess("two", ["rm", "-r", "camera:tree"]);
  assertEquals(await readTree(inbox), { "photo": "of two" });
});

// The owners of directories.

Deno.test("rename: existing files stay in their directory; new files go to a directory of the new name", async () => {
  using _intervals = recordIntervals(10);
  await using devices = await setUpDevices();
  const { homes, inbox, sourcePath, agent } = devices;
  await homes.runToSuccess("one", ["put", sourcePath("one", "photo"), "camera:"]);
  await homes.runToSuccess("camera", ["rename", "one", "phone"]);
  // The server notices the change soon.
  await using device = await Device.open(homes.joinPath("one"));
  const client = await clientOf(device);
  const isNew = async () => {
    const { body } = await client.request("GET", "/inbox/");
    return await body!.text() === "[]\n" || (await listNames(inbox)).includes("phone");
  };
  while (!await isNew());
  await homes.runToSuccess("one", ["put", sourcePath("one", "tree/a"), "camera:"]);
  assertEquals(await filesIn(inbox), {
    ...{ "one": null, "one/photo": "of one" },
    ...{ "phone": null, "phone/a": "one" },
  });
  agent.kill("SIGTERM");
  await agent.waitForEnd();
  await homes.runToSuccess("camera", ["rename", "phone", "one"]);
  // With its old name, the peer gets its old files.
  await homes.serve("camera", ["--inbox", inbox], "one");
  assertEquals(await homes.runToSuccess("one", ["ls", "camera:"]), "photo\n");
});

Deno.test("an upload that runs while its peer is renamed ends in the directory of the old name", async () => {
  using _intervals = recordIntervals(10);
  await using devices = await setUpDevices();
  const { homes, inbox } = devices;
  await using device = await Device.open(homes.joinPath("one"));
  const client = await clientOf(device);
  using connection = await client.connect();
  const uploadBegun = Promise.withResolvers<void>();
  const peerRenamed = Promise.withResolvers<void>();
  const pieces = async function* () {
    yield new TextEncoder().encode("be");
    uploadBegun.resolve();
    await peerRenamed.promise;
    yield new TextEncoder().encode("gun");
  };
  const responsePromise = connection.put("/inbox/file", {}, new BodyIter(pieces(), 5));
  await uploadBegun.promise;
  while (!(await listNames(inbox)).includes("one"));
  await homes.runToSuccess("camera", ["rename", "one", "phone"]);
  while (!(await listNames(inbox)).includes("phone")) {
    await (await client.request("GET", "/inbox/")).body?.bytes();
  }
  peerRenamed.resolve();
  assertEquals((await responsePromise).status, 201);
  const expectedTree = { "one": null, "one/file": "begun", "phone": null };
  assertEquals(await filesIn(inbox), expectedTree);
});

Deno.test("another device with a former name gets a directory with a number, and the former device gets its own", async () => {
  using _intervals = recordIntervals(10);
  await using devices = await setUpDevices();
  const { homes, inbox, sourcePath } = devices;
  await homes.runToSuccess("one", ["put", sourcePath("one", "photo"), "camera:"]);
  await homes.runToSuccess("camera", ["forget", "one"]);
  await homes.runToSuccess("camera", ["rename", "two", "one"]);
  await using device = await Device.open(homes.joinPath("two"));
  const client = await clientOf(device);
  while (!(await listNames(inbox)).includes("one-2")) {
    await (await client.request("GET", "/inbox/")).body?.bytes();
  }
  assertEquals(await homes.runToSuccess("two", ["ls", "--inbox", "camera:"]), "");
  await homes.runToSuccess("two", ["put", sourcePath("two", "photo"), "camera:"]);
  await homes.runToSuccess("camera", ["rename", "one", "two"]);
  await homes.pair("camera", "one");
  const { address } = await homes.serve("camera", ["--inbox", inbox]);
  const ls = ["ls", "--address", address, "camera:"];
  assertEquals(await homes.runToSuccess("one", ls), "photo\n");
  assertEquals(await readTree(`${inbox}/one`), { "photo": "of one" });
  assertEquals(await readTree(`${inbox}/one-2`), { "photo": "of two" });
});

const [ID, OTHER_ID] = ["a".repeat(52), "b".repeat(51) + "a"];

Deno.test("a directory belongs to one id permanently", async () => {
  await using dir = await createTempDir();
  const directoryOf = async (id: string, name: string) => {
    const directory = await new Inbox(dir.path).assignDirectory({ id, name });
    await Deno.mkdir(`${dir.path}/${directory}`, { recursive: true });
    return directory;
  };
  const rows: [id: string, name: string, directory: string][] = [
    [ID, "phone", "phone"],
    [OTHER_ID, "phone", "phone-2"],
    [ID, "phone", "phone"],
    // Some disks treat these names as one.
    [ID, "Phone", "phone"],
    [OTHER_ID, "PHONE", "phone-2"],
    // A name that ends with a number is a normal name.
    [ID, "phone-2", "phone-2-2"],
    [OTHER_ID, "phone-2", "phone-2-3"],
    [ID, "x".repeat(63), "x".repeat(63)],
    [OTHER_ID, "X".repeat(63), `${"X".repeat(61)}-2`],
  ];
  for (const [id, name, directory] of rows) {
    assertEquals(await directoryOf(id, name), directory, `${name} of ${id}`);
  }
  // The directory has no owner, in any spelling.
  await fill(dir.path, { "Tablet/private": "" });
  assertEquals(await directoryOf(ID, "tablet"), "tablet-2");
  // A removed directory still belongs to its peer.
  await Deno.remove(`${dir.path}/phone`);
  assertEquals(await directoryOf(OTHER_ID, "phone"), "phone-2");
  assertEquals(await directoryOf(ID, "phone"), "phone");
});

Deno.test("concurrent requests for the same name get different directories", async () => {
  await using dir = await createTempDir();
  const ids = Array.from("abcdefgh", (letter) => letter.repeat(51) + "a");
  // As in several processes, each server has its own inbox.
  const directoryPromises = [...ids, ...ids].map((id) =>
    new Inbox(dir.path).assignDirectory({ id, name: "phone" })
  );
  const directories = await Promise.all(directoryPromises);
  assertEquals(directories.slice(0, 8), directories.slice(8));
  assertEquals(new Set(directories).size, 8);
  const records = await listNames(`${dir.path}/.degu-files`);
  assertEquals(records, directories.slice(0, 8).map((each) => `owner-${each}`).toSorted());
  assertEquals(await readMode(`${dir.path}/.degu-files`), 0o700);
  for (const [i, id] of ids.entries()) {
    const directory = await new Inbox(dir.path).assignDirectory({ id, name: "phone" });
    assertEquals(directory, directories[i]);
  }
});

Deno.test("a directory with a damaged record has no owner", async (t) => {
  const rows: [rule: string, text: string][] = [
    ["nothing", ""],
    ["no record", "null"],
    ["another directory", JSON.stringify({ id: ID, name: "phone", directory: "../private" })],
  ];
  await testEachRow(t, rows, async (_rule, text) => {
    await using dir = await createTempDir();
    const inbox = new Inbox(dir.path);
    assertEquals(await inbox.assignDirectory({ id: ID, name: "phone" }), "phone");
    await Deno.writeTextFile(`${dir.path}/.degu-files/owner-phone`, text);
    const directories = await Promise.all(
      [ID, OTHER_ID].map((id) => inbox.assignDirectory({ id, name: "phone" })),
    );
    assertEquals(directories.toSorted(), ["phone-2", "phone-3"]);
    // The damaged record does not prevent serving.
    await Deno.mkdir(`${dir.path}/phone`);
    await inbox.check();
  });
});

Deno.test("the owner of a directory is on the disk before its files", async () => {
  await using dir = await createTempDir();
  const synced = await recordSyncedPaths(dir.path, async () => {
    await new Inbox(dir.path).assignDirectory({ id: ID, name: "phone" });
  });
  assertSynced(dir.path, synced, [".", "./.degu-files", "./.degu-files/owner-phone"]);
  const inbox = new Inbox(dir.path);
  for (const expected of [["."], []]) {
    const paths = await recordSyncedPaths(dir.path, () => inbox.createDirectory("phone"));
    assertSynced(dir.path, paths, expected);
  }
});

Deno.test("degu serve marks each kind of inbox at its start, so that no ignore list in it has an effect", async (t) => {
  for (const option of ["--inbox", "--inbox-for-all"]) {
    await t.step(option, async () => {
      await using files = await AgentFiles.start();
      const { local, inbox } = files;
      await fill(local, { "in": null });
      await files.homes.serve("viewer", [option, `${local}/in`]);
      assertEquals(await readMode(`${local}/in/.degu-files`), 0o700);
      await fill(local, { "in/.deguignore": "*\n", "in/a": "1" });
      const { stderr } = await files.runToSuccess("sync", `${local}/in`, "camera:to");
      assertStringIncludes(stderr, "has no effect, because peers can write it");
      assertEquals(await listNames(`${inbox}/to`), [".deguignore", "a"]);
    });
  }
});

Deno.test("degu serve starts although a full disk prevents the mark of its inbox, with a warning", async () => {
  await using homes = await AgentHomes.create("camera");
  await fill(homes.path, { "inbox": null });
  using _mkdir = patch(Deno, "mkdir", (mkdir) => async (path, options) => {
    if (!`${path}`.endsWith("/.degu-files")) return await mkdir(path, options);
    throw new Error(`No space left on device (os error 28): mkdir '${path}'`);
  });
  const { agent } = await homes.serve("camera", ["--inbox-for-all", homes.joinPath("inbox")]);
  const warning = await agent.waitForMessage("degu: warning: ");
  assertStringIncludes(warning, `"${homes.joinPath("inbox")}": no space left on device`);
});

// Refusals.

Deno.test("a directory with files of each peer alone is no inbox for all", async () => {
  await using homes = await AgentHomes.create("camera");
  const inbox = homes.joinPath("inbox");
  await Deno.mkdir(inbox);
  await new Inbox(inbox).assignDirectory({ id: "0".repeat(64), name: "nas" });
  await Deno.mkdir(`${inbox}/nas`);
  for (const dir of [inbox, `${inbox}/nas`]) {
    for (const command of [["serve", "--listen", "127.0.0.1:0"], ["service", "install"]]) {
      const args = [...command, "--inbox-for-all", dir];
      await homes.runToFailure("camera", 2, "has a directory for each peer, or is one", args);
    }
  }
});

Deno.test("an inbox with an entry without an owner is refused, without advice to share it", async () => {
  await using homes = await AgentHomes.create("camera", "one");
  const inbox = homes.joinPath("inbox");
  const fails = async (...args: string[]) => {
    for (const command of [["serve", "--listen", "127.0.0.1:0"], ["service", "install"]]) {
      const all = [...command, ...args];
      const message = "belongs to no peer: move it out of the inbox, or name another inbox\n";
      const stderr = await homes.runToFailure("camera", 1, message, all);
      assert(!stderr.includes("--inbox-for-all"), stderr);
    }
  };
  await fill(inbox, { "other": "" });
  await fails("--inbox", inbox);
  await Deno.remove(`${inbox}/other`);
  // Files of desktops and disks are allowed.
  await fill(inbox, { ".DS_Store": "", "lost+found": null });
  await homes.serve("camera", ["--inbox", inbox]);
  await fill(inbox, { "one/file": "" });
  await fails("--inbox", inbox);
});

Deno.test("a directory of a peer that is a link, or a file, is refused: at the start, and while it serves", async (t) => {
  await using devices = await setUpDevices();
  const { homes, inbox, sourcePath } = devices;
  await homes.runToSuccess("two", ["put", sourcePath("two", "photo"), "camera:"]);
  await fill(homes.path, { "moved/private": "secret" });
  for (const name of ["one", "two"] as const) {
    await new Inbox(inbox).assignDirectory({ id: devices.ids[name], name });
  }
  const rows: [rule: string, expectedMessage: string, make: () => Promise<void>][] = [
    [
      "a link",
      "is a link, which is not followed",
      () => makeLinks({ [`${inbox}/one`]: homes.joinPath("moved") }),
    ],
    [
      "a link to nothing",
      "is a link, which is not followed",
      () => makeLinks({ [`${inbox}/one`]: homes.joinPath("none") }),
    ],
    ["a file", "is not a directory", () => fill(inbox, { "one": "" }).then(() => {})],
  ];
  await using device = await Device.open(homes.joinPath("one"));
  const client = await clientOf(device);
  const missingMessage = "the directory that camera serves is missing, or is not a directory\n";
  await testEachRow(t, rows, async (_rule, expectedMessage, make) => {
    await make();
    const serve = ["serve", "--listen", "127.0.0.1:0", "--inbox", inbox];
    const message = new RegExp(`^degu: error: --inbox: ".*/one" ${expectedMessage}`);
    await homes.runToFailure("camera", 1, message, serve);
    await homes.runToFailure("one", 1, missingMessage, ["ls", "camera:"]);
    await homes.runToFailure("one", 1, missingMessage, ["rm", "camera:private"]);
    for (const [method, body] of [["GET", null], ["PUT", new Uint8Array(1)]] as const) {
      const { status, headers } = await client.request(method, "/inbox/private", {}, body);
      assertEquals([status, headers["refusal-reason"]], [503, "root-gone"]);
    }
    await devices.agent.waitForMessage(`one: "${await realPath(inbox)}/one" ${expectedMessage}`);
    // Other peers are still served.
    assertEquals(await homes.runToSuccess("two", ["ls", "camera:"]), "photo\n");
    await Deno.remove(`${inbox}/one`);
  });
  assertEquals(await readTree(homes.joinPath("moved")), { "private": "secret" });
  await homes.runToSuccess("one", ["put", sourcePath("one", "photo"), "camera:"]);
});

Deno.test("a share that contains the inbox, or is in it, is refused without --inbox-for-all", async (t) => {
  await using homes = await AgentHomes.create("camera");
  await fill(homes.path, { "dir/in": null });
  await makeLinks({ [homes.joinPath("link")]: homes.joinPath("dir") });
  const rows: [rule: string, share: string, inbox: string][] = [
    ["the same", "dir", "dir"],
    ["the same, by a link", "link", "dir"],
    ["the inbox in the share", "dir", "dir/in"],
    ["a new inbox in the share", "dir", "dir/new"],
    ["the share in the inbox", "dir/in", "dir"],
  ];
  await testEachRow(t, rows, async (_rule, share, inbox) => {
    const dirs = ["--share", homes.joinPath(share), "--inbox", homes.joinPath(inbox)];
    for (const command of [["serve", "--listen", "127.0.0.1:0"], ["service", "install"]]) {
      const problem = "so peers could read the files of other peers";
      const stderr = await homes.runToFailure("camera", 2, problem, [...command, ...dirs]);
      assert(!stderr.includes("--inbox-for-all"), stderr);
    }
  });
  assertEquals(await readTree(homes.joinPath("dir")), { "in": null });
  const { agent } = await homes.serve("camera", [
    ...["--share", homes.joinPath("dir"), "--inbox-for-all", homes.joinPath("dir")],
  ]);
  agent.kill("SIGTERM");
  assertEquals((await agent.waitForEnd()).code, 0);
});

Deno.test("options for an inbox need an inbox", async () => {
  await using homes = await AgentHomes.create("camera");
  for (const share of [[], ["--share", homes.path]]) {
    const args = ["serve", "--new-only", ...share];
    await homes.runToFailure("camera", 2, "--new-only is for an inbox: add --inbox", args);
  }
});

// --new-only.

Deno.test("--new-only: files are added, but not replaced, appended or deleted, and each such command reports the reason", async (t) => {
  await using files = await AgentFiles.start();
  const { local, inbox } = files;
  await files.serve("--inbox", files.inboxes, "--new-only");
  await fill(local, { "a": "1", "t/a": "1", "t/b": "2" });
  await files.runToSuccess("put", "-r", `${local}/a`, `${local}/t`, "camera:");
  await files.runToSuccess("sync", `${local}/t`, "camera:s");
  const all = {
    ...{ "a": "1", "t": null, "t/a": "1", "t/b": "2" },
    ...{ "s": null, "s/a": "1", "s/b": "2" },
  };
  assertEquals(await readTree(inbox), all);
  // Files that are equal at the target are not an error.
  await files.runToSuccess("put", "-r", `${local}/a`, `${local}/t`, "camera:");
  await fill(local, { "a": "1 and more", "t/a": "other", "t/b": "x".repeat(100_000) });
  const rows: [command: string, args: string[]][] = [
    ["put", ["put", `${local}/a`, "camera:"]],
    ["put -r", ["put", "-r", `${local}/t`, "camera:"]],
    ["put -r --force", ["put", "-r", "--force", `${local}/t`, "camera:"]],
    ["sync", ["sync", `${local}/t`, "camera:s"]],
    ["sync --delete", ["sync", "--delete", `${local}/t`, "camera:s"]],
    ["rm", ["rm", "camera:a"]],
    ["rm -r", ["rm", "-r", "camera:t"]],
  ];
  const problem = "camera only accepts new files (degu serve --new-only): existing files stay";
  await testEachRow(t, rows, async (_command, args) => {
    const stderr = await files.runToFailure(1, problem, ...args);
    assert(!stderr.includes("--force"), stderr);
    if (args[0] === "rm") assertEquals(stderr.match(/error:/g)?.length, 1, stderr);
  });
  assertEquals(await readTree(inbox), all);
  // New files are still accepted.
  await fill(local, { "t/c": "3" });
  await files.runToFailure(1, problem, "sync", `${local}/t`, "camera:s");
  assertEquals(await readTree(inbox), { ...all, "s/c": "3" });
});

// Changes of the disk while degu serve runs.

Deno.test("a directory that the user moves away while degu serve runs is created again, for the same peer", async () => {
  await using devices = await setUpDevices();
  const { homes, inbox, sourcePath } = devices;
  await homes.runToSuccess("one", ["put", sourcePath("one", "photo"), "camera:"]);
  await Deno.rename(`${inbox}/one`, homes.joinPath("sorted"));
  assertEquals(await homes.runToSuccess("one", ["ls", "camera:"]), "");
  await homes.runToSuccess("one", ["put", "-r", sourcePath("one", "tree"), "camera:"]);
  assertEquals(await filesIn(inbox), { "one": null, "one/tree": null, "one/tree/a": "one" });
  assertEquals(await readTree(homes.joinPath("sorted")), { "photo": "of one" });
  // If the whole inbox is missing, its disk may not be mounted: no directory is created in its
  // place.
  await Deno.rename(inbox, homes.joinPath("moved"));
  for (const name of ["one", "two"]) {
    await homes.runToFailure(name, 1, "camera serves is missing", ["ls", "--inbox", "camera:"]);
  }
  await assertRejects(() => Deno.lstat(inbox), Deno.errors.NotFound);
  await Deno.rename(homes.joinPath("moved"), inbox);
  assertEquals(await homes.runToSuccess("one", ["ls", "camera:"]), "tree/\n");
  assertEquals(await homes.runToSuccess("two", ["ls", "camera:"]), "");
});

Deno.test("a device whose directory is moved to another machine keeps its id, its peers and its inbox", async () => {
  await using devices = await setUpDevices();
  const { homes, inbox, sourcePath } = devices;
  await homes.runToSuccess("one", ["put", sourcePath("one", "photo"), "camera:"]);
  const id = await homes.runToSuccess("one", ["id"]);
  await Deno.rename(homes.joinPath("one"), homes.joinPath("moved"));
  assertEquals(await homes.runToSuccess("moved", ["id"]), id);
  assertEquals(await homes.runToSuccess("moved", ["ls", "camera:"]), "photo\n");
  await homes.runToSuccess("moved", ["rm", "camera:photo"]);
  assert(!(await listNames(`${inbox}/one`)).includes("photo"));
});

Deno.test("at its start degu serve removes unfinished uploads that are older than a day", async () => {
  await using dir = await createTempDir();
  await using homes = await AgentHomes.create("camera");
  const directory = await new Inbox(dir.path).assignDirectory({ id: ID, name: "gone" });
  const leftoverDirectory = `${dir.path}/${directory}/.degu-files`;
  await Deno.mkdir(leftoverDirectory, { recursive: true });
  const [old, recent] = ["0", "1"].map((digit) => `${leftoverDirectory}/put-${digit.repeat(32)}`);
  for (const path of [old!, recent!]) await Deno.writeTextFile(path, "x");
  const yesterday = new Date(Date.now() - 25 * 60 * 60 * 1000);
  await Deno.utime(old!, yesterday, yesterday);
  await homes.serve("camera", ["--inbox", dir.path]);
  await assertRejects(() => Deno.lstat(old!), Deno.errors.NotFound);
  await Deno.lstat(recent!);
});

Deno.test("an error of the system in an inbox is a refusal in one line, and a bug is not", () => {
  const makeError = (code: string) => Object.assign(new Error(`${code}: why`), { code });
  const rows: readonly (readonly [error: unknown, status: number | undefined])[] = [
    [makeError("EIO"), 500],
    [makeError("ETIMEDOUT"), 500],
    [new Error("Stale file handle (os error 116)"), 500],
    [makeError("EMFILE"), 503],
    [makeError("ENFILE"), 503],
    [new Error("Too many open files in system (os error 23)"), 503],
    [makeError("ENOSPC"), 507],
    [makeError("EACCES"), 403],
    [new TypeError("a bug"), undefined],
    ["a bug", undefined],
  ];
  for (const [error, status] of rows) {
    assertEquals(makeRefusal(error)?.response[0], status, Deno.inspect(error));
  }
});

Deno.test("the copy of a lost machine is moved into the directory of the new machine, which its first request creates, and restored", async () => {
  await using devices = await setUpDevices();
  const { homes, inbox, sourcePath } = devices;
  await homes.runToSuccess("one", ["sync", sourcePath("one", "tree"), "camera:Documents"]);
  await homes.runToSuccess("two", ["ls", "--inbox", "camera:"]);
  await Deno.rename(`${inbox}/one/Documents`, `${inbox}/two/Documents`);
  await homes.runToSuccess("two", ["sync", "--inbox", "camera:Documents", homes.joinPath("back")]);
  assertEquals(await readTree(homes.joinPath("back")), { a: "one" });
});
