/** Each change of a file, in each way to copy it, at each moment. */
import { testChangedCopies } from "@degu/testing/changed_copies.ts";

testChangedCopies(() => true);
