/**
 * What an RGI application is.
 *
 * @module
 */

export type { Api, App, AppFunction, AppObject, Socket } from "./base/app.ts";
export type { ResponseTuple } from "./base/message.ts";
