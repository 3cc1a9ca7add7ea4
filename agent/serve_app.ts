/**
 * What `degu serve` answers with.
 *
 * @module
 */

import type { Response, ResponseTuple } from "../base.ts";
import { FilesApp } from "../files.ts";
import type { AppObject, Logger, Request, Session } from "../server.ts";

/** What is served. */
export interface Served {
  /** The name of the device. */
  readonly name: string;
  /** The directory that peers can read; `null` for none. */
  readonly share: string | null;
  /** The directory that peers can read and write; `null` for none. */
  readonly inbox: string | null;
}

/** What the path `/` answers with. */
export type About = { readonly [Key in keyof Served]: Key extends "name" ? string : boolean };

const NOT_FOUND: ResponseTuple = [404, "Not Found", {}, null];
const encoder = new TextEncoder();

/** Serves the share below `/share/`, the inbox below `/inbox/`, and at `/` reports which of them exist. */
export class ServeApp implements AppObject {
  readonly #about: Uint8Array;
  readonly #apps: ReadonlyMap<string | null, FilesApp>;

  /**
   * Serves directories.
   *
   * @throws what {@linkcode FilesApp} does.
   */
  constructor({ name, share, inbox }: Served, logger: Pick<Logger, "warn">) {
    const about: About = { name, share: share !== null, inbox: inbox !== null };
    this.#about = encoder.encode(JSON.stringify(about));
    const apps = new Map<string | null, FilesApp>();
    if (share !== null) apps.set("share", new FilesApp(share, { list: true, logger }));
    if (inbox !== null) apps.set("inbox", new FilesApp(inbox, { list: true, write: true, logger }));
    this.#apps = apps;
  }

  /** Answers a request. */
  handle(
    request: Request,
    session: Session,
  ): ResponseTuple | Response | Promise<ResponseTuple | Response> {
    const part = request.shiftPath();
    const app = this.#apps.get(part);
    if (app !== undefined) return app.handle(request, session);
    if (part !== null) return NOT_FOUND;
    if (request.method !== "GET") return [405, "only GET", { allow: "GET" }, null];
    return [200, "OK", { "content-type": "application/json" }, this.#about];
  }
}
