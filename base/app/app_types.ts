/**
 * The types that the signatures of an app refer to, as {@linkcode App} is one.
 *
 * @module
 */

export type { Api, App, AppFunction, AppObject } from "./app.ts";
export type { Request, ResponseTuple } from "./message.ts";
export type * from "./message_types.ts";
export type { Session } from "./session.ts";
