/**
 * The third argument of an app.
 *
 * @module
 */

import type { Api } from "./app.ts";
import { bodies } from "../body/bodies.ts";
import { ContentRange, Range } from "../wire/range.ts";

/**
 * What an app gets as its third argument: the four body classes, `Range` and `ContentRange`.
 *
 * @example An app that is called without a server
 * ```ts
 * import { api } from "@degu/degu/base";
 * import type { Api } from "@degu/degu/rgi";
 * import { assertEquals } from "@std/assert";
 *
 * const items = [new Uint8Array(2), new Uint8Array(3)];
 * const app = (_request: null, _session: null, { BodyIter }: Api) =>
 *   [200, "OK", {}, new BodyIter(items, 5)] as const;
 * assertEquals(app(null, null, api)[3].contentLength, 5);
 * ```
 */
export const api: Api = Object.freeze({ ...bodies, Range, ContentRange });
