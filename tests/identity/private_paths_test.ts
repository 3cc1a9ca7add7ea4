/** Who can write to the directory of a device's identity, and to its parents. */
import { createDevicePki } from "@degu/degu/device";
import { PrivatePaths, USABLE_BY_OTHERS } from "@degu/internal/identity/private_paths.ts";
import { mustRun, obstacleTo } from "@degu/testing/commands.ts";
import { entries, tempDir } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { runScript } from "@degu/testing/processes.ts";
import { giveLinkAway, makeLinks } from "@degu/testing/special_files.ts";
import { testUnless } from "@degu/testing/terminals.ts";
import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { assertRefused } from "./device_identities.ts";

const isRoot = Deno.uid() === 0;
const ANOTHER_USER = 12345;

/** Why this user can't give a file to another one, as root can; `null` if it can. */
async function giftObstacle(): Promise<string | null> {
  await using dir = await tempDir();
  return await Deno.chown(dir.path, ANOTHER_USER, null).then(() => null, String);
}

testUnless(await giftObstacle(), "createDevicePki rejects files of another user", async () => {
  await using dir = await tempDir();
  const pki = join(dir.path, "pki");
  const load = () => createDevicePki(pki, "camera-1");
  await load();
  const files = ["ca.pem", "ca_key.pem", "cert.pem", "key.pem"];
  for (const path of [".", "pki", ...["", ...files].map((name) => `pki/camera-1/${name}`)]) {
    const owned = join(dir.path, path).replace(/\/$/, "");
    await Deno.chown(owned, ANOTHER_USER, null);
    const error = await assertRejects(load, Deno.errors.PermissionDenied);
    assertStringIncludes(error.message, `${owned} belongs to another user (uid 12345)`);
    assertMatch(error.message, /chown|elsewhere/);
    await Deno.chown(owned, 0, null);
    await load();
  }
  const link = join(dir.path, "link");
  await makeLinks({ [link]: "pki" });
  await createDevicePki(link, "camera-1");
  await giveLinkAway(link, ANOTHER_USER);
  await assertRefused(link, "PermissionDenied", `${link} belongs to another user (uid 12345)`);
  // What another user has left behind is not touched.
  const left = join(pki, ".camera-1.0123456789abcdef");
  await Deno.mkdir(left);
  await Deno.utime(left, new Date(0), new Date(0));
  await Deno.chown(left, ANOTHER_USER, null);
  await load();
  assertEquals(await entries(pki), [".camera-1.0123456789abcdef", "camera-1"]);
  // No key is written into a directory of another user.
  await using theirs = await tempDir();
  await Deno.chown(theirs.path, ANOTHER_USER, null);
  await assertRefused(theirs.path, "PermissionDenied", "belongs to another user");
  assertEquals(await entries(theirs.path), []);
});

testUnless(
  await giftObstacle(),
  "what a user may use belongs to that user or to root",
  async () => {
    await using dir = await tempDir();
    const rows = [[0, 0, true], [0, 7, false], [7, 0, true], [7, 7, true], [7, 8, false]] as const;
    for (const [user, owner, isAccepted] of rows) {
      await Deno.chown(dir.path, owner, null);
      using _user = patch(Deno, "uid", () => () => user);
      const paths = new PrivatePaths();
      const checked = await paths.check(dir.path, USABLE_BY_OTHERS).then(() => true, () => false);
      assertEquals(checked, isAccepted, `${user} ${owner}`);
    }
    await Deno.chown(dir.path, 0, null);
  },
);

/** The command that runs the command behind it where this user has the number 54321. */
const THROUGH_USER_NAMESPACE = ["unshare", "--user", "--map-user=54321", Deno.execPath()];

const noNamespace = await obstacleTo([...THROUGH_USER_NAMESPACE, "--version"]);

testUnless(
  noNamespace,
  "createDevicePki accepts what belongs to root, and to no other user",
  async () => {
    // Seen from a user namespace in which nobody else has a number, all of theirs belongs to 65534.
    await using dir = await tempDir();
    await createDevicePki(dir.path, "camera-1");
    const load = (permission: string) => loadInNamespace(dir.path, permission);
    assertStringIncludes(await load(`--allow-read=${dir.path}`), "loaded as 54321");
    const all = await load("--allow-read");
    if (isRoot) assertStringIncludes(all, "loaded as 54321");
    else assertMatch(all, /PermissionDenied: \/ belongs to another user \(uid 65534\)/);
  },
);

Deno.test("createDevicePki rejects a parent directory that others can write, unless it is sticky", async () => {
  const rows: [mode: number, accepted: boolean][] = [
    [0o755, true],
    [0o1777, true],
    [0o1775, true],
    [0o777, false],
    [0o775, false],
    [0o757, false],
  ];
  await using dir = await tempDir();
  const above = join(dir.path, "above");
  const pki = join(above, "var", "pki");
  await createDevicePki(pki, "camera-1");
  for (const [mode, accepted] of rows) {
    await Deno.chmod(above, mode);
    const name = `camera-${mode}`;
    const calls = [[pki, "camera-1"], [pki, name], [join(above, name), name]] as const;
    for (const [path, name] of calls) {
      const load = () => createDevicePki(path, name);
      if (accepted) {
        await load();
        continue;
      }
      const error = await assertRejects(load, Deno.errors.PermissionDenied);
      assertStringIncludes(error.message, `${above} is open to other users`);
      assertStringIncludes(error.message, "chmod go-w");
    }
    const made = [await entries(pki), await entries(above)].map((all) => all.includes(name));
    assertEquals(made, [accepted, accepted]);
  }
});

Deno.test("createDevicePki checks the directories that links lead through", async (t) => {
  const links: [what: string, to: string][] = [
    ["the directory", "open/pki"],
    ["one above, by an absolute path", "$/open"],
    ["one above, by a path with dots", "closed/../open"],
    ["a link to a link", "second"],
  ];
  for (const [what, to] of links) {
    await t.step(what, async () => {
      await using dir = await tempDir();
      const closed = join(dir.path, "closed");
      const open = join(dir.path, "open");
      await Deno.mkdir(closed, { mode: 0o700 });
      await createDevicePki(join(open, "pki"), "camera-1");
      await makeLinks({
        [join(dir.path, "second")]: "open",
        [join(dir.path, "link")]: to.replace("$", dir.path),
      });
      const by = to.endsWith("pki") ? join(dir.path, "link") : join(dir.path, "link", "pki");
      await createDevicePki(by, "camera-1");
      await Deno.chmod(open, 0o777);
      await assertRefused(by, "PermissionDenied", `${open} is open to other users`);
    });
  }
  await t.step("a file that is a link into a directory that others can write", async () => {
    await using dir = await tempDir();
    const { keyFile } = await createDevicePki(join(dir.path, "pki"), "camera-1");
    const open = join(dir.path, "open");
    await Deno.mkdir(open);
    await Deno.rename(keyFile, join(open, "key.pem"));
    await makeLinks({ [keyFile]: join(open, "key.pem") });
    await createDevicePki(join(dir.path, "pki"), "camera-1");
    await Deno.chmod(open, 0o777);
    await assertRefused(
      join(dir.path, "pki"),
      "PermissionDenied",
      `${open} is open to other users`,
    );
  });
});

Deno.test("createDevicePki skips parent directories that it may not read", async () => {
  await using dir = await tempDir();
  const pki = join(dir.path, "pki");
  await createDevicePki(pki, "camera-1");
  // What can't be looked at for any other reason is not skipped.
  await assertRejects(
    () => new PrivatePaths().checkWay(join(pki, "a".repeat(300))),
    Error,
    "too long",
  );
  await Deno.chmod(dir.path, 0o777);
  const permissions = [`--allow-read=${pki}`, "--allow-sys=uid"];
  assertEquals(await runScript(loadingScript(pki), permissions, {}), `loaded as ${Deno.uid()}\n`);
});

Deno.test("createDevicePki makes nothing without permission to read its user id", async () => {
  await using dir = await tempDir();
  const permissions = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`];
  const refusal = await runScript(loadingScript(dir.path), permissions, {});
  assertMatch(refusal, /^NotCapable: Requires sys access to "uid"/);
  assertEquals(await entries(dir.path), []);
});

/** A program that loads an identity, or says why not. */
function loadingScript(dir: string): string {
  return `
    import { createDevicePki } from ${JSON.stringify(import.meta.resolve("../../device.ts"))};
    try {
      await createDevicePki(${JSON.stringify(dir)}, "camera-1");
      console.log("loaded as " + Deno.uid());
    } catch (error) {
      console.log(error.name + ": " + error.message);
    }`;
}

/** Loads an identity in a process whose user has the number 54321. */
function loadInNamespace(dir: string, permission: string): Promise<string> {
  const module = `data:text/javascript,${encodeURIComponent(loadingScript(dir))}`;
  const flags = ["--no-prompt", "--quiet", permission, "--allow-sys=uid"];
  return mustRun([...THROUGH_USER_NAMESPACE, "run", ...flags, module]);
}

Deno.test("each directory above what is looked at is looked at once, however much is below it", async () => {
  await using dir = await tempDir();
  const paths = new PrivatePaths();
  const looks = new Map<string, number>();
  using _counted = patch(Deno, "lstat", (lstat) => (path) => {
    looks.set(`${path}`, (looks.get(`${path}`) ?? 0) + 1);
    return lstat(path);
  });
  for (const name of ["a", "b", "c"]) await paths.checkWay(join(dir.path, name));
  assertEquals(looks.get(dir.path), 1);
});
