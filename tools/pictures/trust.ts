/**
 * Which certificates two devices trust.
 *
 * @module
 */

import { Drawing } from "./drawing.ts";

/** Draws two devices that trust each other's authority, and a stranger. */
export function drawTrust(): string {
  const drawing = new Drawing(
    840,
    400,
    "TLS between two devices",
    "Each device has an authority of its own that signs its leaf certificate, and trusts the authority " +
      "of the other device and no other. Each shows its leaf in the handshake and verifies the leaf of " +
      "the other. A stranger's certificate is refused.",
  );
  const left = 40;
  const right = 570;
  const width = 230;
  drawing.frame({ x: 24, y: 16, width: 262, height: 296 }, "camera");
  drawing.frame({ x: 554, y: 16, width: 262, height: 296 }, "viewer");
  const top = { y: 52, width, height: 58 };
  const middle = { y: 147, width, height: 58 };
  const bottom = { y: 242, width, height: 58 };
  drawing.box({ x: left, ...top }, "authority of camera", ["its key stays here"], "own");
  drawing.box({ x: left, ...middle }, "leaf of camera", ["certificate and key"], "own");
  drawing.box({ x: left, ...bottom }, "trusts one authority:", ["that of viewer"], "good");
  drawing.box({ x: right, ...top }, "trusts one authority:", ["that of camera"], "good");
  drawing.box({ x: right, ...middle }, "leaf of viewer", ["certificate and key"], "own");
  drawing.box({ x: right, ...bottom }, "authority of viewer", ["its key stays here"], "own");

  drawing.arrow([[left + 70, 110], [left + 70, 144]], "signs");
  drawing.arrow([[right + 70, 242], [right + 70, 208]], "signs");
  drawing.arrow([[270, 81], [567, 81]], "certificate, when paired", { dashed: true });
  drawing.arrow([[570, 271], [273, 271]], "certificate, when paired", { dashed: true });
  drawing.arrow([[273, 176], [567, 176]], "TLS: each shows its leaf", { both: true });
  drawing.text([420, 196], "and verifies the other's", { anchor: "middle" });
  drawing.box(
    { x: 24, y: 332, width: 792, height: 46 },
    "a stranger",
    ["its leaf is of another authority: it is refused, and gets no byte of HTTP"],
    "end",
  );
  return drawing.toString();
}
