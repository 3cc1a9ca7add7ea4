/**
 * The types of an app, and a middleware that checks whether an app and its server follow the rules.
 *
 * @example
 * ```ts
 * import { mkreq } from "@degu/degu/misc";
 * import { type App, Validator } from "@degu/degu/rgi";
 * import { api, Session } from "@degu/degu";
 * import { assertRejects } from "@std/assert";
 *
 * const app: App = () => [200, "OK", { "Content-Type": "text/plain" }, null];
 * const session = new Session("test", null, 10);
 * await assertRejects(
 *   () => new Validator(app).handle(mkreq("GET", "/"), session, api),
 *   RangeError,
 *   'response[2]["Content-Type"]: the name must be',
 * );
 * ```
 *
 * @module
 */

export type * from "./base/app/app_types.ts";
export { Validator } from "./apps/validator.ts";
