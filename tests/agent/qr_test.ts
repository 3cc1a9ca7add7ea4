import { assert, assertEquals } from "@std/assert";
import { encode } from "npm:uqr@^0.1.3";
import { qrLines } from "@degu/internal/agent/qr.ts";

Deno.test("a QR code has one character for two modules, light if filled, and a border of four light modules", () => {
  const text = `degu:${"aB-_".repeat(170)}`;
  const lines = qrLines(text);
  const { size, data } = encode(text, { ecc: "L", border: 4 });
  assertEquals(lines.length, Math.ceil(size / 2));
  const modules = lines.flatMap((line) => {
    assertEquals(line.length, size);
    const rows = ["▀█", "▄█"].map((filled) => [...line].map((each) => !filled.includes(each)));
    return rows;
  }).slice(0, size);
  assertEquals(modules, data);
  assert(modules.slice(0, 4).flat().every((isDark) => !isDark));
});
