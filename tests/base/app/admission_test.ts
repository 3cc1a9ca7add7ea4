/** Whether the peer of a session is still admitted. */
import { assertEquals } from "@std/assert";
import { guardSession, isStillAdmitted } from "@degu/internal/base/app/session.ts";
import { Session } from "@degu/degu/server";

Deno.test("isStillAdmitted calls the session's guard each time, and never rejects", async () => {
  const session = new Session("peer", null, 1);
  assertEquals(await isStillAdmitted(session), true);
  const answers = [true, false, true];
  guardSession(
    session,
    () => Promise.resolve(answers.shift() ?? Promise.reject(new Error("gone"))),
  );
  const asked = [];
  for (let i = 0; i < 4; i++) asked.push(await isStillAdmitted(session));
  assertEquals(asked, [true, false, true, false]);
  assertEquals(await isStillAdmitted(new Session("other", null, 1)), true);
});
