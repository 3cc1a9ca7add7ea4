/** Which URIs are those of directories. */
import { assertThrows } from "@std/assert";
import { checkDirectoryUri } from "@degu/internal/files/directory_uri.ts";

Deno.test("the path of a directory ends with a slash, with a query or without", () => {
  for (const uri of ["/", "/a/", "/a/?", "/a/?b"]) checkDirectoryUri(uri);
  for (const uri of ["/a", "/a?", "/a?b"]) {
    assertThrows(() => checkDirectoryUri(uri), RangeError, 'must end with "/"');
  }
  assertThrows(() => checkDirectoryUri("a/"), RangeError);
  assertThrows(() => checkDirectoryUri(1 as unknown as string), TypeError);
});
