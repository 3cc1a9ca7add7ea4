/** Printed objects and messages contain everything except secrets. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { inspect as inspectOfNode } from "node:util";
import {
  hideSecretsOf,
  INSPECT,
  inspectFields,
  quoteLine,
  quoteValue,
} from "@degu/internal/base/inspect.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const SECRET_NAMES = ["authorization", "cookie", "proxy-authorization", "set-cookie"];
const SECRET = "s3cr3t-value";

Deno.test("the value of a secret header is never printed or quoted, whatever the case of its name", () => {
  for (const name of SECRET_NAMES.flatMap((name) => [name, name.toUpperCase()])) {
    const headers = hideSecretsOf({ [name]: SECRET, host: "a" });
    assertEquals(headers[name], SECRET);
    assertEquals(Object.keys(headers), [name, "host"]);
    for (const shown of [Deno.inspect(headers), inspectOfNode(headers), Deno.inspect([headers])]) {
      assert(!shown.includes(SECRET), shown);
      assertStringIncludes(shown, name);
      assertStringIncludes(shown, '"a"'.slice(1, -1));
    }
    assert(!quoteValue(name, SECRET).includes(SECRET), name);
    for (const between of [": ", ":", " : "]) {
      assert(!quoteLine(latin1(`${name}${between}${SECRET}`)).includes(SECRET), name + between);
    }
  }
});

Deno.test("any other value is quoted, even if it is bytes", () => {
  for (const name of ["host", "x-cookie", "cookies", "authorization2", ""]) {
    assertStringIncludes(quoteValue(name, "text"), "text");
    assertStringIncludes(quoteValue(name, latin1("text")), "text");
    assertStringIncludes(quoteLine(latin1(`${name}: text`)), "text");
  }
  assertStringIncludes(quoteLine(latin1("no colon")), "no colon");
  assertStringIncludes(quoteLine(latin1("")), '""');
});

Deno.test("a folded line is not quoted, because it may be the rest of a secret", () => {
  for (const space of [" ", "\t"]) assert(!quoteLine(latin1(space + SECRET)).includes(SECRET));
});

Deno.test("inspectFields shows the class and its fields, and hides the secrets in its headers", () => {
  class Thing {
    [INSPECT](inspect: (value: unknown, options?: unknown) => string, options: unknown): string {
      const headers = Object.assign(Object.create(null), { cookie: SECRET, "x-a": "b" });
      return inspectFields("Thing", { method: "GET", headers }, inspect, options);
    }
  }
  for (const inspect of [Deno.inspect, inspectOfNode]) {
    const shown = inspect(new Thing());
    assert(/^Thing\(method=["']GET["'], headers=\{/.test(shown), shown);
    assert(!shown.includes(SECRET) && !shown.includes("null prototype"), shown);
    assertStringIncludes(shown, "x-a");
  }
});

Deno.test("only the name of a line with a secret is quoted", () => {
  for (const name of ["cookie", "Authorization", "proxy-authorization"]) {
    assertEquals(quoteLine(latin1(`${name}: ${SECRET}`)), JSON.stringify(name));
  }
  assertEquals(quoteLine(latin1("x-a: b")), '"x-a: b"');
});
