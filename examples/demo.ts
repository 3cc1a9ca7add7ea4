// deno run --allow-net=127.0.0.1,[::1] --allow-read=.,/tmp --allow-write=/tmp --allow-sys=uid examples/demo.ts

// Runs the tutorial, and then the devices. The argument is the number of MiB that they send.
await import("./tutorial.ts");
await import("./devices.ts");
