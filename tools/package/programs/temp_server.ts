// Runs servers in workers. The worker is a module of the package; the app is in this project.
import { Client } from "@degu/degu/client";
import { TempServer } from "@degu/degu/misc";
import { assertEquals } from "@std/assert";

const app = () => [200, "OK", { from: "source" }, null] as const;
await using sourceServer = await TempServer.start(["127.0.0.1", 0], null, app);
assertEquals(
  (await new Client(sourceServer.address).request("GET", "/")).headers["from"],
  "source",
);

const build = { module: import.meta.resolve("./app.ts"), name: "buildApp" };
await using moduleServer = await TempServer.start(["127.0.0.1", 0], build, "module");
assertEquals(
  (await new Client(moduleServer.address).request("GET", "/")).headers["from"],
  "module",
);
console.log("two temporary servers have responded");
