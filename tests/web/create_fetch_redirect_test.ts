/** createFetch: redirects within the origin (Fetch standard, HTTP-redirect fetch). */
import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import { Client } from "@degu/degu/client";
import type { AppFunction } from "@degu/degu/server";
import { createFetch } from "@degu/degu";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { RawServer } from "@degu/testing/raw_peer.ts";
import { serve, type Serving } from "@degu/testing/serving.ts";
import { slowStream } from "@degu/testing/web_serving.ts";

const encoder = new TextEncoder();
const STATUSES = [301, 302, 303, 307, 308] as const;

/** What arrived where no redirect was answered. */
interface Arrival {
  readonly method: string;
  readonly path: string;
  readonly body: string | null;
  readonly headers: string[];
}

/** Answers `/to/<status>` without a query with a redirect to what the header `target` says, and else with what arrived. */
function serveRedirects(
  more: (path: string[]) => ReturnType<AppFunction> | null = () => null,
): Serving {
  return serve(async (request) => {
    const { method, path, headers } = request;
    const body = request.body === null ? null : await request.body.text();
    const answer = more(path);
    if (answer !== null) return answer;
    if (path[0] === "to" && Number(path[1]) > 0 && request.query === null) {
      const redirect = new TextEncoder().encode("a redirect");
      const content = method === "HEAD" ? null : redirect;
      const location = headers["target"] as string | undefined;
      return [Number(path[1]), "Redirect", location === undefined ? {} : { location }, content];
    }
    const arrival = {
      method,
      path: path.join("/"),
      body,
      headers: Object.keys(headers).toSorted(),
    };
    const text = encoder.encode(JSON.stringify(arrival));
    return [200, "OK", { "x-arrival": "yes" }, method === "HEAD" ? null : text];
  });
}

Deno.test("a redirect is followed with the method that the standard requires", async (t) => {
  await using serving = serveRedirects();
  const fetch = createFetch(serving.makeClient({ host: "device.local" }));
  for (const status of STATUSES) {
    for (const method of ["GET", "HEAD", "DELETE", "PUT", "POST"]) {
      await t.step(`${status} of ${method}`, async () => {
        const hasBody = method === "PUT" || method === "POST";
        const response = await fetch(`http://device.local/to/${status}`, {
          method,
          headers: {
            target: "/there",
            "x-kept": "yes",
            ...(hasBody && { "content-type": "a/b", "content-language": "en" }),
          },
          ...(hasBody && { body: "hello" }),
        });
        assertEquals([response.status, response.redirected], [200, true]);
        assertEquals(response.url, "http://device.local/there");
        if (method === "HEAD") return assertEquals(response.headers.get("x-arrival"), "yes");
        const becomesGet = status === 303 ? method !== "GET" : status < 303 && method === "POST";
        const arrival: Arrival = await response.json();
        assertEquals(arrival, {
          method: becomesGet ? "GET" : method,
          path: "there",
          body: hasBody && !becomesGet ? "hello" : null,
          headers: hasBody && !becomesGet
            ? ["content-language", "content-length", "content-type", "host", "target", "x-kept"]
            : ["host", "target", "x-kept"],
        });
      });
    }
  }
});

Deno.test("a location is resolved against the URL of the request", async (t) => {
  await using serving = serveRedirects();
  const { host } = serving.makeClient();
  const rows: [location: string, url: string][] = [
    ["/a?b", "http://device.local/a?b"],
    ["a", "http://device.local/to/a"],
    ["../a", "http://device.local/a"],
    ["?a", "http://device.local/to/307?a"],
    ["http://device.local/a", "http://device.local/a"],
    ["http://device.local:80/a", "http://device.local/a"],
    ["//device.local/a", "http://device.local/a"],
    // The server knows itself by the host that the client has sent.
    [`http://${host}/a`, `http://${host}/a`],
  ];
  for (const [location, url] of rows) {
    await t.step(location, async () => {
      const fetch = createFetch(serving.makeClient());
      const response = await fetch("http://device.local/to/307", { headers: { target: location } });
      await response.body?.cancel();
      assertEquals(response.url, url);
    });
  }
});

Deno.test("a redirect to another origin is refused", async (t) => {
  await using serving = serveRedirects();
  const fetch = createFetch(serving.makeClient({ host: "device.local" }));
  const rows: [location: string, said: string][] = [
    ["http://other.local/a", "http://other.local"],
    ["https://device.local/a", "https://device.local"],
    ["http://device.local:81/a", "http://device.local:81"],
    ["//other.local/", "http://other.local"],
    ["ftp://device.local/a", "another origin"],
    ["data:text/plain,a", "another origin"],
    ["http://[", "not a URL"],
  ];
  for (const [location, said] of rows) {
    await t.step(location, async () => {
      const responding = fetch("http://device.local/to/302", { headers: { target: location } });
      const error = await rejectionOf(responding, location);
      assertInstanceOf(error, TypeError);
      assertStringIncludes(error.message, said);
    });
  }
});

Deno.test("a redirect to an invalid path is refused", async () => {
  await using serving = serveRedirects();
  const responding = createFetch(serving.makeClient())("/to/302", { headers: { target: "/a//b" } });
  const error = await rejectionOf(responding, "a path with two slashes");
  assertInstanceOf(error, TypeError);
  assertStringIncludes(error.message, '"/a//b"');
});

Deno.test("the redirect option decides how redirects are handled", async (t) => {
  await using serving = serveRedirects();
  const fetch = createFetch(serving.makeClient());
  const headers = { target: "/there" };
  for (const status of STATUSES) {
    await t.step(`${status}, manual`, async () => {
      const response = await fetch(`/to/${status}`, { redirect: "manual", headers });
      assertEquals([response.status, response.redirected], [status, false]);
      assertEquals([response.headers.get("location"), await response.text()], [
        "/there",
        "a redirect",
      ]);
    });
    await t.step(`${status}, error`, async () => {
      const responding = fetch(
        new Request(`http://a/to/${status}`, { redirect: "error", headers }),
      );
      const error = await rejectionOf(responding, "a redirect");
      assertInstanceOf(error, TypeError);
      assertStringIncludes(error.message, String(status));
    });
    await t.step(`${status} without a location is no redirect`, async () => {
      const response = await fetch(`/to/${status}`);
      assertEquals([response.status, await response.text()], [status, "a redirect"]);
    });
  }
  for (const status of [300, 304, 305, 399]) {
    await t.step(`${status} is no redirect`, async () => {
      await using other = serve(() => [status, "xx", { location: "/there" }, null]);
      for (const redirect of ["follow", "error", "manual"] as const) {
        const response = await createFetch(other.makeClient())("/", { redirect });
        assertEquals([response.status, response.redirected], [status, false]);
        await response.body?.cancel();
      }
    });
  }
});

Deno.test("20 redirects are followed, and not one more", async () => {
  let count = 0;
  await using serving = serveRedirects((path) => {
    const left = Number(path[0]);
    count++;
    return left === 0 ? [200, "OK", {}, null] : [302, "Found", { location: `/${left - 1}` }, null];
  });
  const fetch = createFetch(serving.makeClient());
  const response = await fetch("/20");
  assertEquals([response.status, count], [200, 21]);
  count = 0;
  const error = await rejectionOf(fetch("/21"), "21 redirects");
  assertInstanceOf(error, TypeError);
  assertStringIncludes(error.message, "20 redirects");
  assertEquals(count, 21);
});

Deno.test("a body is sent again if possible", async (t) => {
  await using serving = serveRedirects();
  const fetch = createFetch(serving.makeClient());
  const headers = { target: "/there" };
  const form = new FormData();
  form.set("name", "value");
  const bodies: [name: string, make: () => BodyInit, again: boolean][] = [
    ["text", () => "hello", true],
    ["bytes", () => encoder.encode("hello"), true],
    ["a blob", () => new Blob(["hello"]), true],
    ["parameters", () => new URLSearchParams({ a: "b" }), true],
    ["a form", () => form, true],
    ["a stream", () => slowStream("hello"), false],
  ];
  for (const [name, make, again] of bodies) {
    for (const status of STATUSES) {
      await t.step(`${name}, ${status}`, async () => {
        const responding = fetch(`/to/${status}`, { method: "PUT", headers, body: make() });
        if (again || status === 303) {
          const { method, body }: Arrival = await (await responding).json();
          assertEquals([method, body !== null], status === 303 ? ["GET", false] : ["PUT", true]);
        } else {
          const error = await rejectionOf(responding, name);
          assertInstanceOf(error, TypeError);
          assertStringIncludes(error.message, "stream");
        }
      });
    }
  }
});

Deno.test("a body that is edited after the fetch began is sent as it was", async () => {
  await using serving = serveRedirects();
  const body = encoder.encode("hello");
  const headers = { target: "/there" };
  const responding = createFetch(serving.makeClient())("/to/307", { method: "PUT", headers, body });
  body.fill(0);
  const arrival: Arrival = await (await responding).json();
  assertEquals(arrival.body, "hello");
});

Deno.test("an abort ends a chain of redirects", async () => {
  const aborter = new AbortController();
  const reason = new Error("enough of this");
  let count = 0;
  await using serving = serveRedirects(() => {
    if (++count === 3) aborter.abort(reason);
    return [302, "Found", { location: "/" }, null];
  });
  const responding = createFetch(serving.makeClient())("/", { signal: aborter.signal });
  assertEquals(await rejectionOf(responding, "an abort"), reason);
  assert(count === 3, `${count} requests`);
});

Deno.test("the connection of a redirect is closed, whatever is unread of it", async (t) => {
  const rows: [name: string, location: string, redirect: RequestRedirect][] = [
    ["followed", "/there", "follow"],
    ["refused", "http://other.local/", "follow"],
    ["forbidden", "/there", "error"],
  ];
  for (const [name, location, redirect] of rows) {
    await t.step(name, async () => {
      using server = new RawServer();
      const fetching = createFetch(new Client(server.address))("http://device.local/", {
        redirect,
      });
      const peer = await server.accept();
      await peer.readPreamble();
      const answered = fetching.then((response) => response.status, () => "an error");
      await peer.send(
        `HTTP/1.1 302 Found\r\ncontent-length: 9\r\nlocation: ${location}\r\n\r\n123`,
      );
      if (name === "followed") {
        const next = await server.accept();
        await next.readPreamble();
        await next.send("HTTP/1.1 200 OK\r\n\r\n");
      }
      assertEquals(await answered, name === "followed" ? 200 : "an error");
      await peer.assertClosedSilently();
    });
  }
});
