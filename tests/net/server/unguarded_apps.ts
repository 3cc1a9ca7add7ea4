/**
 * Apps with a mistake in their check of trust, as programs have it. They type-check, and none may
 * act for a peer whose trust has ended: the server doesn't call them.
 */

import {
  type App,
  BodyIter,
  fromFetchHandler,
  ProxyApp,
  reply,
  type Request,
  routes,
  wrapApp,
} from "@degu/degu";
import type { Client } from "@degu/degu/client";
import type { Session } from "@degu/degu/server";

export const SECRET = "secret";

/** What an app does that only trusted peers may cause, and how it waits. */
export interface Acts {
  act(): void;
  /** Resolves later. */
  pause(): Promise<void>;
  /** A client of another server, which acts for each request and returns the secret. */
  readonly upstream: Client;
}

const tell = () => reply(200, SECRET);

type MakeApp = (acts: Acts) => App;

export const UNGUARDED_APPS: readonly (readonly [label: string, make: MakeApp])[] = [
  ["no check", ({ act }) => () => {
    act();
    return tell();
  }],
  ["only the user", ({ act }) => (_request, session) => {
    if (session.user === null) return reply(403);
    act();
    return tell();
  }],
  ["ifTrusted without await", ({ act }) => (_request, session) => {
    session.ifTrusted(act);
    return tell();
  }],
  ["an asynchronous step without await", ({ act, pause }) => (_request, session) => {
    void session.ifTrusted(() => pause().then(act));
    return tell();
  }],
  ["the error is caught", ({ act }) => async (_request, session) => {
    await session.ifTrusted(act).catch(() => {});
    return tell();
  }],
  ["the result as a condition", ({ act }) => (_request, session) => {
    if (session.ifTrusted(() => true) as unknown) act();
    return tell();
  }],
  ["an asynchronous guard without await", ({ act }) => {
    const guard = async (session: Session) => await session.ifTrusted(() => {});
    return (_request, session) => {
      guard(session).catch(() => {});
      act();
      return tell();
    };
  }],
  ["a middleware without await", ({ act }) => {
    const app: App = () => {
      act();
      return tell();
    };
    return wrapApp(app, (next, _request, session) => {
      void session.ifTrusted(() => {});
      return next();
    });
  }],
  ["a decision that is kept in session.store", ({ act }) => async (_request, session) => {
    const { store } = session;
    if (!store.has("trusted")) store.set("trusted", await session.ifTrusted(() => true));
    act();
    return tell();
  }],
  ["a middleware that checks after the app", ({ act }) => {
    const app: App = () => {
      act();
      return tell();
    };
    return wrapApp(app, async (next, _request, session) => {
      const response = await next();
      await session.ifTrusted(() => {});
      return response;
    });
  }],
  ["a middleware that passes its own session", ({ act }) => {
    const app: App = async (_request, session) => {
      await session.ifTrusted(act);
      return tell();
    };
    const replaceSession = { ifTrusted: (step: () => unknown) => Promise.resolve(step()) };
    return (request, session, api) => {
      const replaced = { user: session.user, store: session.store, ...replaceSession };
      return (app as (...args: unknown[]) => never)(request, replaced, api);
    };
  }],
  ["a middleware that answers each error", ({ act }) => {
    const app: App = async (_request, session) => {
      await session.ifTrusted(() => {});
      return tell();
    };
    return wrapApp(app, async (next) => {
      try {
        return await next();
      } finally {
        act();
      }
    });
  }],
  ["a guard of one route of two", ({ act }) =>
    routes({
      "GET /guarded": async (_request: Request, session: Session) => {
        await session.ifTrusted(act);
        return tell();
      },
      "/": () => {
        act();
        return tell();
      },
    })],
  ["all checks together, of which one is enough", ({ act }) => async (_request, session) => {
    const [checked] = await Promise.allSettled([session.ifTrusted(() => true)]);
    if (checked !== undefined) act();
    return tell();
  }],
  ["the session of the first request", ({ act }) => {
    let first: Session | null = null;
    return async (_request, session) => {
      first ??= session;
      if (first.message === null) act();
      await first.ifTrusted(() => {}).catch(() => {});
      return tell();
    };
  }],
  ["a step after the response", ({ act, pause }) => (_request, session) => {
    void pause().then(() => session.ifTrusted(act)).catch(() => {});
    return tell();
  }],
  ["the body is read behind the response", ({ act }) => (request) => {
    void request.text().then(act, () => {});
    return tell();
  }],
  ["a response that reads its request", ({ act }) => ({ body }) => {
    const pieces = async function* () {
      for await (const piece of body!) {
        act();
        // The requests of the tests have no chunks.
        yield piece as Uint8Array<ArrayBuffer>;
      }
    };
    return reply(200, new BodyIter(pieces(), SECRET.length));
  }],
  ["a fetch handler", ({ act }) =>
    fromFetchHandler(async (request) => {
      act();
      return new Response(await request.text());
    })],
  ["a proxy", ({ upstream }) => new ProxyApp(upstream)],
];
