/** Names that a disk refuses, as FAT does: each file has its reason. */
import { AgentFiles, parseObjects } from "@degu/testing/agent_files.ts";
import type { AgentResult } from "@degu/testing/agents.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { fill, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { assertEquals, assertStringIncludes } from "@std/assert";

/** Makes the disk of a directory refuse names with a question mark. */
function refuseQuestionMarks(dir: string): Disposable {
  const stack = new DisposableStack();
  const check = (operation: string, path: string | URL) => {
    if (!`${path}`.startsWith(dir) || !`${path}`.includes("?")) return;
    const message = `Invalid argument (os error 22): ${operation} '${path}'`;
    throw Object.assign(new Error(message), { code: "EINVAL" });
  };
  stack.use(patch(Deno, "linkSync", (link) => (from, to) => {
    check("link", to);
    link(from, to);
  }));
  stack.use(patch(Deno, "renameSync", (rename) => (from, to) => {
    check("rename", to);
    rename(from, to);
  }));
  stack.use(patch(Deno, "openSync", (open) => (path, options) => {
    if (options?.createNew) check("open", path);
    return open(path, options);
  }));
  stack.use(patch(Deno, "mkdirSync", (mkdir) => (path, options) => {
    check("mkdir", path);
    mkdir(path, options);
  }));
  return stack;
}

const LARGE = "l".repeat(70_000);
const REASON = "can't hold the name: it is refused by its file system: rename it";

/** Returns the codes of the failed files that a command printed with --json, by name. */
function codesOf(end: AgentResult): Record<string, unknown> {
  const objects = parseObjects(end).filter(({ error }) => error !== undefined);
  const nameOf = ({ from, path }: Record<string, unknown>) => `${from ?? path}`.split("/").at(-1);
  const codeOf = ({ error }: Record<string, unknown>) => (error as { code: string }).code;
  return Object.fromEntries(objects.map((each) => [nameOf(each), codeOf(each)]));
}

Deno.test("put and sync: each file whose name the disk of the peer refuses has this reason, and the code BAD_NAME", async () => {
  await using files = await AgentFiles.start();
  const { local, inbox } = files;
  await fill(local, { "t/a?": "1", "t/large?": LARGE, "t/d?/x": "2", "t/ok": "3" });
  using _refusing = refuseQuestionMarks(inbox);
  const peerReason = `the disk of camera ${REASON}`;
  const putTree = ["put", "-r", `${local}/t`];
  for (const command of [[...putTree, "camera:"], ["sync", `${local}/t`, "camera:t"]]) {
    const { code, stderr } = await files.run(...command);
    assertEquals(code, 1);
    for (const name of ["a?", "large?", "d?"]) {
      assertStringIncludes(stderr, `${local}/t/${name}: ${peerReason}`, command[0]);
    }
    const codes = Object.fromEntries(["a?", "large?", "d?", "x"].map((name) => [name, "BAD_NAME"]));
    assertEquals(codesOf(await files.run("--json", ...command)), codes);
  }
  assertEquals(await readTree(inbox), { "t": null, "t/ok": "3" });
  await files.runToFailure(1, peerReason, "put", `${local}/t/a?`, "camera:");
  await files.runToFailure(1, peerReason, ...putTree, "camera:./b?");
});

Deno.test("put --move: a directory that the peer refuses is reported for each file by its name, and no file is removed", async () => {
  await using files = await AgentFiles.start();
  const { local, inbox } = files;
  using _clock = setClockAhead(10_000);
  await fill(local, { "f": "1", "g": "2" });
  using _refusing = refuseQuestionMarks(inbox);
  const putArgs = ["put", "--move", `${local}/f`, "camera:./b?/"];
  const one = await files.runToFailure(1, `${local}/f: `, ...putArgs);
  assertStringIncludes(one, REASON);
  const args = ["put", "--move", `${local}/f`, `${local}/g`, "camera:./b?/"];
  const both = await files.runToFailure(1, REASON, ...args);
  for (const name of ["f", "g"]) assertStringIncludes(both, `${local}/${name}: `);
  assertEquals(codesOf(await files.run("--json", ...args)), { f: "BAD_NAME", g: "BAD_NAME" });
  assertEquals(await readTree(local), { f: "1", g: "2" });
});

Deno.test("get and sync: each file whose name this disk refuses has this reason, and the code BAD_NAME", async () => {
  await using files = await AgentFiles.start();
  const { local, share } = files;
  await fill(share, { "t/a?": "1", "t/large?": LARGE, "t/ok": "3" });
  using _refusing = refuseQuestionMarks(local);
  const reason =
    "the disk can't hold the name: it is refused by its file system: rename it on camera";
  for (const command of [["get", "-r", "camera:t", local], ["sync", "camera:t", `${local}/t`]]) {
    const { code, stderr } = await files.run(...command);
    assertEquals(code, 1);
    for (const name of ["a?", "large?"]) {
      assertStringIncludes(stderr, `camera:t/${name}: ${reason}`);
    }
    const codes = codesOf(await files.run("--json", ...command));
    assertEquals(codes, { "a?": "BAD_NAME", "large?": "BAD_NAME" });
  }
  assertEquals(await readTree(`${local}/t`), { ok: "3" });
  await files.runToFailure(1, "can't hold the name", "get", "camera:t/a?", `${local}/t`);
});
