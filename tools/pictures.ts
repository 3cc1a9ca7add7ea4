/**
 * Draws the pictures of the documentation into docs/pictures: `deno task pictures`.
 *
 * @module
 */

import { drawConnection } from "./pictures/connection.ts";
import { drawLayers } from "./pictures/layers.ts";
import { drawOverview } from "./pictures/overview.ts";
import { drawPairing } from "./pictures/pairing.ts";
import { drawTrust } from "./pictures/trust.ts";
import { PROJECT_ROOT } from "./standard_library.ts";

/** The pictures by the names of their files. */
export async function drawPictures(): Promise<Record<string, string>> {
  const { exports } = JSON.parse(await Deno.readTextFile(new URL("deno.json", PROJECT_ROOT)));
  return {
    "connection.svg": drawConnection(),
    "layers.svg": drawLayers(Object.keys(exports)),
    "overview.svg": drawOverview(),
    "pairing.svg": drawPairing(),
    "trust.svg": drawTrust(),
  };
}

if (import.meta.main) {
  for (const [name, text] of Object.entries(await drawPictures())) {
    await Deno.writeTextFile(new URL(`docs/pictures/${name}`, PROJECT_ROOT), text);
  }
}
