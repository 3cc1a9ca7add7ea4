/** The files of an identity: missing, mismatched, or open to others. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { dirname, join } from "@std/path";
import { createDevicePki } from "@degu/degu/device";
import { entries, snapshot, tempDir } from "@degu/testing/directories.ts";

const onPosix = Deno.build.os !== "windows";

Deno.test("createDevicePki rejects an identity with a missing file and makes no other", async (t) => {
  await using dir = await tempDir();
  for (const [index, file] of ["ca.pem", "ca_key.pem", "cert.pem", "key.pem"].entries()) {
    await t.step(file, async () => {
      const name = `camera-${index}a`;
      const home = dirname((await createDevicePki(dir.path, name)).caFile);
      await Deno.remove(join(home, file));
      const before = await snapshot(home);
      await assertRejects(
        () => createDevicePki(dir.path, name),
        Deno.errors.NotFound,
        `Missing ${join(home, file)}: restore the directory from a backup`,
      );
      assertEquals(await snapshot(home), before);
    });
  }
});

Deno.test("createDevicePki rejects files that don't belong together, without quoting them", async (t) => {
  await using dir = await tempDir();
  const other = dirname((await createDevicePki(dir.path, "other")).caFile);
  const cases: [file: string, content: string | null, message: string][] = [
    ["ca.pem", null, "ca_key.pem does not belong to"],
    ["ca_key.pem", null, "ca_key.pem does not belong to"],
    ["cert.pem", null, "key.pem does not belong to"],
    ["key.pem", null, "key.pem does not belong to"],
    ["ca.pem", "", "Cannot parse"],
    [
      "cert.pem",
      "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n",
      "Cannot parse",
    ],
    [
      "key.pem",
      "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
      "Cannot parse",
    ],
  ];
  for (const [index, [file, content, message]] of cases.entries()) {
    await t.step(
      `${file} ${content === null ? "of another device" : "that is damaged"}`,
      async () => {
        const name = `camera-${index}a`;
        const home = dirname((await createDevicePki(dir.path, name)).caFile);
        const text = content ?? await Deno.readTextFile(join(other, file));
        await Deno.writeTextFile(join(home, file), text);
        const error = await assertRejects(
          () => createDevicePki(dir.path, name),
          Deno.errors.InvalidData,
          message,
        );
        assert(!/BEGIN|c2VjcmV0|secret/.test(Deno.inspect(error)));
      },
    );
  }
  await t.step("the authority of another device, with its key", async () => {
    const home = dirname((await createDevicePki(dir.path, "camera-b")).caFile);
    for (const file of ["ca.pem", "ca_key.pem"]) {
      await Deno.writeTextFile(join(home, file), await Deno.readTextFile(join(other, file)));
    }
    await assertRejects(
      () => createDevicePki(dir.path, "camera-b"),
      Deno.errors.InvalidData,
      "cert.pem does not belong to",
    );
  });
  await t.step("the whole identity of another device", async () => {
    await Deno.rename(other, join(dir.path, "renamed"));
    await assertRejects(
      () => createDevicePki(dir.path, "renamed"),
      Deno.errors.InvalidData,
      "is not for renamed",
    );
  });
});

Deno.test({
  name: "createDevicePki rejects permissions that admit other users, and says what to do",
  ignore: !onPosix,
  async fn(t) {
    const cases: [path: string, mode: number, accepted: boolean][] = [
      [".", 0o755, true],
      [".", 0o770, false],
      [".", 0o702, false],
      ["camera-1", 0o750, true],
      ["camera-1", 0o720, false],
      ["camera-1/ca.pem", 0o644, true],
      ["camera-1/ca.pem", 0o620, false],
      ["camera-1/cert.pem", 0o602, false],
      ["camera-1/key.pem", 0o400, true],
      ["camera-1/key.pem", 0o640, false],
      ["camera-1/key.pem", 0o604, false],
      ["camera-1/ca_key.pem", 0o640, false],
    ];
    for (const [path, bits, accepted] of cases) {
      await t.step(`${path} ${bits.toString(8)}: ${accepted}`, async () => {
        await using dir = await tempDir();
        await createDevicePki(dir.path, "camera-1");
        await Deno.chmod(join(dir.path, path), bits);
        const load = () => createDevicePki(dir.path, "camera-1");
        if (accepted) {
          await load();
        } else {
          const error = await assertRejects(load, Deno.errors.PermissionDenied, "to other users");
          assertMatch(error.message, path.endsWith(".pem") ? /chmod 600/ : /chmod 700/);
        }
      });
    }
    await t.step("writes no key into a directory that others can write", async () => {
      await using dir = await tempDir();
      await Deno.chmod(dir.path, 0o777);
      await assertRejects(
        () => createDevicePki(dir.path, "camera-1"),
        Deno.errors.PermissionDenied,
        "is open to other users (mode 777)",
      );
      assertEquals(await entries(dir.path), []);
    });
    await t.step("advises not to use a shared directory", async () => {
      await using dir = await tempDir();
      await Deno.chmod(dir.path, 0o1777);
      const error = await assertRejects(
        () => createDevicePki(dir.path, "camera-1"),
        Deno.errors.PermissionDenied,
        "use a directory of its own",
      );
      assert(!error.message.includes("chmod"), error.message);
      assertEquals(await entries(dir.path), []);
      await createDevicePki(join(dir.path, "own"), "camera-1");
    });
  },
});
