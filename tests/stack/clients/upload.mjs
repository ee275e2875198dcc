// Node's fetch: node upload.mjs URL TOKEN FILE        (Node 18 or newer; no package)
// Prints the answer. Exit status 1 when that is a refusal.
import { createReadStream } from "node:fs";

const [url, token, file] = process.argv.slice(2);
const answer = await fetch(url, {
    method: "PUT",
    headers: { Authorization: `Token ${token}` },
    body: createReadStream(file), // a stream has no length, so fetch sends it in chunks
    duplex: "half", // and has to be told that it will not read the answer before it has sent all
});
console.log(await answer.text());
process.exitCode = answer.ok ? 0 : 1;
