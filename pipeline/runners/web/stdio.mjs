// What both programs do with their standard streams: answers go out on one, everything for people on the other.
import { whyNot } from "./model.mjs";

for (const name of ["log", "info", "warn", "debug"]) console[name] = console.error;

export const say = (bytes) => new Promise((done, failed) => process.stdout.write(bytes, (error) => (error ? failed(error) : done())));

// Run a program to its end. What goes wrong before it is ready is an answer too.
export function run(main) {
  main().then(
    () => process.exit(0), // Dawn keeps the loop of events alive
    async (error) => {
      console.error(error);
      await say(whyNot(error));
      process.exit(1);
    },
  );
}
