/** Validity periods, and the messages about them. */
import { assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { describeValidity, isValid } from "@degu/internal/identity/identity_files.ts";

const FROM = Date.UTC(2030, 0, 1);
const TO = Date.UTC(2030, 0, 2);

const moments: readonly (readonly [now: number, valid: boolean, said: string])[] = [
  [FROM - 1, false, "is not valid before 2030-01-01T00:00:00.000Z"],
  [FROM, true, "expires on 2030-01-02T00:00:00.000Z"],
  [TO - 1, true, "expires on 2030-01-02T00:00:00.000Z"],
  [TO, false, "has expired on 2030-01-02T00:00:00.000Z"],
  [TO + 1, false, "has expired on 2030-01-02T00:00:00.000Z"],
];

for (const [now, valid, said] of moments) {
  Deno.test(`at ${new Date(now).toISOString()} it ${said}`, () => {
    using _time = new FakeTime(now);
    const validity = { from: FROM, to: TO };
    assertEquals([isValid(validity), describeValidity(validity)], [valid, said]);
  });
}
