/** The headers of uploads. */
import { assertEquals, assertThrows } from "@std/assert";
import { Refusal } from "@degu/internal/files/refusal.ts";
import { readUploadHeaders } from "@degu/internal/files/upload_headers.ts";

const NONE = { digest: null, modified: null, offset: null, length: null, version: null };

Deno.test("headers that are present are read", () => {
  assertEquals(readUploadHeaders({}), NONE);
  assertEquals(readUploadHeaders({ "content-type": "text/plain", etag: '"x"' }), NONE);
  const all = {
    "repr-digest": `sha-256=:${"A".repeat(43)}=:`,
    "upload-modified": "2024-02-29T01:02:03.456Z",
    "upload-offset": "0",
    "upload-length": `${Number.MAX_SAFE_INTEGER}`,
    "upload-version": "0123456789abcdef".repeat(4),
  };
  assertEquals(readUploadHeaders(all), {
    digest: "0".repeat(64),
    modified: new Date("2024-02-29T01:02:03.456Z"),
    offset: 0,
    length: Number.MAX_SAFE_INTEGER,
    version: "0123456789abcdef".repeat(4),
  });
  const whole = readUploadHeaders({ "upload-modified": "2024-02-29T01:02:03Z" });
  assertEquals(whole.modified, new Date("2024-02-29T01:02:03Z"));
  // Of a digest by another algorithm nothing is known.
  assertEquals(readUploadHeaders({ "repr-digest": "sha-512=:AA==:" }).digest, null);
});

Deno.test("a malformed header is refused by its name", () => {
  const counts = ["", "-1", "+1", "01", "1.0", "1e3", " 1", "9007199254740992", "0x1"];
  const bad: Record<string, string[]> = {
    "repr-digest": ["", "sha-256", "sha-256=AA==", "sha-256=:AA==:", "sha-256=:!:"],
    "upload-modified": [
      "",
      "2024-02-29",
      "2024-02-30T00:00:00Z",
      "2024-02-29T00:00:00",
      "2024-02-29T00:00:00.1Z",
      "2024-02-29T24:00:00Z",
      "2024-02-29T00:00:00+01:00",
      "Thu, 29 Feb 2024 00:00:00 GMT",
    ],
    "upload-offset": counts,
    "upload-length": counts,
    "upload-version": ["", "A", "g", " a", "a a", "a".repeat(65)],
  };
  for (const [name, values] of Object.entries(bad)) {
    for (const value of values) {
      const read = () => readUploadHeaders({ [name]: value });
      assertEquals(assertThrows(read, Refusal, name, `${name}: ${value}`).status, 400);
    }
  }
});
