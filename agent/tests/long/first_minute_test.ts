/** The first minute of the help and of agent/docs/guide.md, on terminals of new machines. */
import { makeLabTest } from "@degu/testing/agent_lab.ts";
import { assertEquals } from "@std/assert";

type Files = [name: string, text: string][];

Deno.test(
  await makeLabTest<{ received: Files; mode: number; files: Files; left: Files }>(
    "in the first minute a file is put into an inbox that only its owner can open, then sent once",
    "agent_first_minute.ts",
    [],
    ({ received, mode, files, left }) => {
      const hello: Files = [["hello.txt", "hello\n"]];
      // The temporary directories were removed.
      assertEquals([received, files, left], [[["Inbox", "/"], ...hello], hello, hello]);
      assertEquals(mode, 0o700);
    },
  ),
);
