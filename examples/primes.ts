// deno run --allow-net=127.0.0.1 --allow-read=. examples/primes.ts

// Computes in a thread of its own, while the server answers other requests.

import { type App, Client, reply, routes, Server, WorkerApp } from "@degu/degu";

/** The app that runs in the worker, which imports this module. */
export const app: App = ({ query }) => {
  let count = 0;
  for (let number = 2; number <= Number(query); number++) count += isPrime(number) ? 1 : 0;
  return reply(200, `${count}`);
};

function isPrime(number: number): boolean {
  for (let divisor = 2; divisor * divisor <= number; divisor++) {
    if (number % divisor === 0) return false;
  }
  return true;
}

if (import.meta.main) {
  await using primes = await WorkerApp.start({ module: import.meta.url, name: "app" });
  const table = routes({ "GET /ping": () => reply(204), "/primes/": primes });
  await using server = await Server.start(["127.0.0.1", 0], table);
  const client = new Client(server.address);
  const counted = client.get("/primes/?2000000");
  const start = performance.now();
  await client.get("/ping");
  console.log(`The server answered after ${Math.ceil(performance.now() - start)} ms.`);
  console.log(`There are ${await (await counted).text()} primes up to 2,000,000.`);
}
