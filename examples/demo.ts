// deno run --allow-net=127.0.0.1,[::1] --allow-read=.,/tmp --allow-write=/tmp --allow-sys=uid examples/demo.ts

// The tutorial, and the devices after it. They read the argument, which says how many MiB they send.
await import("./tutorial.ts");
await import("./devices.ts");
