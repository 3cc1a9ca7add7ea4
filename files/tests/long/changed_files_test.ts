/** Each change of a file, in each way to copy it, at each moment. */
import { makeChangedCopyTests } from "../changed_copies.ts";

for (const test of makeChangedCopyTests(() => true)) Deno.test(test);
