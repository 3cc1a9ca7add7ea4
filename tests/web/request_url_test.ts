/** The URLs that are passed to fetch. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { parseRequestUrl, quoteUrl } from "@degu/internal/web/request_url.ts";

const BASE = new URL("http://localhost:8080/dir/");

Deno.test("a URL is absolute, or relative to the base", () => {
  const cases = {
    "http://a/b?c#d": "http://a/b?c#d",
    "/x": "http://localhost:8080/x",
    "x": "http://localhost:8080/dir/x",
    "?q": "http://localhost:8080/dir/?q",
    "//other/x": "http://other/x",
    "": "http://localhost:8080/dir/",
  };
  for (const [given, href] of Object.entries(cases)) {
    assertEquals(parseRequestUrl(given, BASE).href, href);
  }
});

Deno.test("an invalid URL is a TypeError that quotes it", () => {
  for (const text of ["http://", "http://a b/", "http://[::1", "//:80"]) {
    const { message } = assertThrows(() => parseRequestUrl(text, BASE), TypeError);
    assert(message.includes(JSON.stringify(text)), message);
  }
});

Deno.test("a user name or a password is a TypeError, and is not shown, in any form", () => {
  const wrong = [
    "http://name:s3cret@a/",
    "http://s3cret@a/",
    "http://:s3cret@a/",
    "//name:s3cret@a/",
    "http://name:s3cret@",
    "http://name:s3cret@a:bad/",
    "http:\\\\name:s3cret@a",
  ];
  for (const text of wrong) {
    const { message, stack } = assertThrows(() => parseRequestUrl(text, BASE), TypeError);
    assert(!message.includes("s3cret") && !stack?.includes("s3cret@"), message);
    assert(!quoteUrl(text).includes("s3cret"));
  }
});

Deno.test("an at sign after the host is part of the path", () => {
  assertEquals(parseRequestUrl("/users/@me", BASE).pathname, "/users/@me");
  assertEquals(parseRequestUrl("http://a/x@y?z@w", BASE).href, "http://a/x@y?z@w");
});
