/** `--keep`: earlier versions of files that degu serve and degu sync replace or delete. */
import { Inbox } from "@degu/internal/agent/inbox.ts";
import { AgentFiles } from "@degu/testing/agent_files.ts";
import { fill, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

/** Returns the contents of all versions below a directory. */
async function versionsIn(dir: string): Promise<string[]> {
  return Object.entries(await readTree(dir))
    .flatMap(([path, text]) => /\.degu-kept\/.*_/.test(path) && text !== null ? [text] : []).sort();
}

const DAYS = ["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04", "2020-01-05"];

/** Makes versions of days, each of which was followed by a run of `degu serve --keep`. */
async function makeOldDays(dir: string): Promise<void> {
  for (const day of DAYS) {
    await fill(dir, { [`.degu-kept/${day}/09_viewer/a`]: day });
    const dayAfter = new Date(Date.parse(`${day}T12:00:00`) + 86_400_000);
    await Deno.utime(`${dir}/.degu-kept/${day}`, dayAfter, dayAfter);
  }
}

Deno.test("serve --keep keeps what put --force, rm and sync --delete replace and delete, and reports it at its start", async () => {
  await using files = await AgentFiles.start();
  const { local, inbox, inboxes } = files;
  await fill(local, { a: "2", "tree/b": "3" });
  await fill(inbox, { a: "1", gone: "4", "tree/old": "5" });
  await files.serve("--inbox", inboxes, "--keep", "30");
  await files.runToSuccess("put", "--force", `${local}/a`, "camera:");
  await files.runToSuccess("rm", "camera:gone");
  await files.runToSuccess("sync", "--delete", `${local}/tree`, "camera:tree");
  assertEquals(await versionsIn(inbox), ["1", "4", "5"]);
  const { stdout } = await files.runToSuccess("ls", "--inbox", "camera:");
  assertEquals(stdout, "a\ntree/\n");
  assertMatch(
    (await files.stop()).stderr,
    /keeping what peers replace and delete for 30 days: 0 earlier versions\n/,
  );
  await files.serve("--inbox", inboxes, "--keep", "1");
  assertMatch(
    (await files.stop()).stderr,
    /replace and delete for 1 day: 3 earlier versions, 3 B, since \d{4}-\d\d-\d\d, in \S*\n/,
  );
});

Deno.test("serve --keep removes the versions of old days at its start", async () => {
  await using files = await AgentFiles.start();
  const { inbox, inboxes } = files;
  await makeOldDays(inbox);
  await files.serve("--inbox", inboxes, "--keep", "2");
  // Two more days, because the clock may be wrong.
  assertEquals(await versionsIn(inbox), DAYS.slice(1));
});

Deno.test("serve --keep removes old versions of one peer although those of another can't be removed", async () => {
  await using files = await AgentFiles.start();
  const { inboxes } = files;
  const id = "a".repeat(52);
  const directory = await new Inbox(inboxes).findOrRecordDirectory({ id, name: "recorder" });
  for (const name of ["viewer", directory]) await makeOldDays(`${inboxes}/${name}`);
  let failed = "";
  using _patch = patch(Deno, "remove", (remove) => (path, options) => {
    if (failed !== "" || !`${path}`.endsWith("/2020-01-01.old")) return remove(path, options);
    failed = `${path}`;
    return Promise.reject(new Error("Input/output error (os error 5)"));
  });
  await files.serve("--inbox", inboxes, "--keep", "2");
  const [first, ...newest] = DAYS;
  assertEquals(await versionsIn(inboxes), [first, ...newest, ...newest].sort());
  assertStringIncludes((await files.stop()).stderr, "old versions can't be removed");
});

Deno.test("sync --keep keeps local files, and the target is no inbox", async () => {
  await using files = await AgentFiles.start();
  const { local, share } = files;
  // The sizes differ: two files that were written in one millisecond would count as identical.
  await fill(share, { "d/a": "22", "d/b.tmp": "x" });
  await fill(local, { "copy/a": "1", "copy/old": "3", "copy/.deguignore": "*.tmp\n" });
  const args = ["sync", "--delete", "--keep", "7", "camera:d", `${local}/copy`];
  for (let run = 1; run <= 2; run++) {
    const { stderr } = await files.runToSuccess(...args);
    assertEquals(stderr.includes("has no effect"), false, stderr);
  }
  assertEquals(await versionsIn(`${local}/copy`), ["1", "3"]);
  assertEquals(Object.keys(await readTree(`${local}/copy`)).includes("b.tmp"), false);
});

Deno.test("on a full disk, put, rm and sync name the earlier versions, which removing files doesn't free", async () => {
  await using files = await AgentFiles.start();
  const { local, inbox, inboxes, share } = files;
  await fill(local, { a: "22", "copy/a": "1" });
  await fill(share, { "d/a": "22" });
  const versions = { ".degu-kept/2020-01-01/09_a/x": "1" };
  await fill(inbox, { a: "1", ...versions });
  await fill(`${local}/copy`, versions);
  await files.serve("--share", share, "--inbox", inboxes, "--keep", "30");
  using _patch = patch(Deno, "linkSync", (linkSync) => (from, to) => {
    if (!`${to}`.includes("/.degu-kept/")) return linkSync(from, to);
    throw Object.assign(new Error("No space left on device (os error 28)"), { code: "ENOSPC" });
  });
  const message = "earlier versions take space: on camera, remove .degu-kept and run";
  await files.runToFailure(1, message, "put", "--force", `${local}/a`, "camera:");
  await files.runToFailure(1, message, "rm", "camera:a");
  const localMessage = `earlier versions take space: remove ${await Deno.realPath(
    local,
  )}/copy/.degu-kept and run`;
  await files.runToFailure(1, localMessage, "sync", "--keep", "3", "camera:d", `${local}/copy`);
});

Deno.test("a wrong --keep is refused", async () => {
  await using files = await AgentFiles.start();
  const { local, inboxes, share } = files;
  const rows: [message: string, args: string[]][] = [
    ["--keep is for an inbox: add --inbox", ["serve", "--share", share, "--keep", "3"]],
    [
      "leave out --keep or --new-only",
      ["serve", "--inbox", inboxes, "--keep", "3", "--new-only"],
    ],
    ["must be a number of days", ["serve", "--inbox", inboxes, "--keep", "0"]],
    ["must be a number of days", ["sync", "camera:", local, "--keep", "1h"]],
    ['camera keeps earlier versions with "degu serve --keep DAYS"', [
      ...["sync", "--keep", "3", local, "camera:"],
    ]],
  ];
  for (const [message, args] of rows) await files.runToFailure(2, message, ...args);
});

Deno.test("on a disk without hard links, --keep is refused at the start", async () => {
  await using files = await AgentFiles.start();
  using _patch = patch(Deno, "linkSync", () => () => {
    throw Object.assign(new Error("refused (os error 1)"), { code: "EPERM" });
  });
  const { inboxes, local } = files;
  const serve = ["serve", "--inbox", inboxes, "--keep", "3", "--listen", "127.0.0.1:0"];
  const { stderr } = await files.homes.run("camera", serve);
  assertStringIncludes(stderr, "has no hard links, so no versions can be kept: leave out --keep");
  await fill(files.share, { a: "1" });
  await files.runToFailure(1, "has no hard links", "sync", "camera:", local, "--keep", "3");
});

Deno.test("a peer's directory on a disk without hard links is refused with the reason, others are served", async () => {
  await using files = await AgentFiles.start();
  const { inbox, inboxes, share } = files;
  await fill(inbox, { a: "1" });
  await fill(share, { b: "2" });
  using _patch = patch(Deno, "linkSync", (linkSync) => (from, to) => {
    if (!`${from}`.startsWith(`${inbox}/`)) return linkSync(from, to);
    throw Object.assign(new Error("refused (os error 1)"), { code: "EPERM" });
  });
  await files.serve("--share", share, "--inbox", inboxes, "--keep", "3");
  await files.runToFailure(1, "camera", "rm", "camera:a");
  const { stdout } = await files.runToSuccess("ls", "camera:");
  assertEquals(stdout, "b\n");
  const { stderr } = await files.stop();
  assertStringIncludes(stderr, "viewer has no hard links, so no versions can be kept");
  assertEquals(stderr.includes("an error of the app"), false, stderr);
  assertEquals(await versionsIn(inbox), []);
});
