// Drives a server by the stock JavaScript client: `node client.mjs URL KEY`. Prints what came of it as one line of JSON.
import { Client } from "@langchain/langgraph-sdk";

const [apiUrl, apiKey] = process.argv.slice(2);
const client = new Client({ apiUrl, apiKey });
const said = { messages: [{ role: "user", content: "Go." }], steps: [] };

async function all(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

async function streamed() {
  const thread = await client.threads.create({ metadata: { from: "javascript" } });
  let created;
  const parts = await all(
    client.runs.stream(thread.thread_id, "nested", {
      input: said,
      streamMode: ["values", "updates", "messages-tuple", "custom"],
      streamSubgraphs: true,
      streamResumable: true,
      onDisconnect: "continue",
      onRunCreated: (run) => (created = run),
    }),
  );
  const again = await all(
    client.runs.joinStream(thread.thread_id, created.run_id, { lastEventId: parts[2].id, streamMode: ["values", "updates"] }),
  );
  const steps = (await client.threads.getState(thread.thread_id)).values.steps;
  return { events: parts.map((part) => part.event), ids: parts.map((part) => part.id), again: again.map((part) => part.event), steps };
}

async function interrupted() {
  const thread = await client.threads.create();
  const asked = await all(client.runs.stream(thread.thread_id, "asks", { input: said, streamMode: ["values", "updates"] }));
  const { status, interrupts } = await client.threads.get(thread.thread_id);
  const answered = await all(
    client.runs.stream(thread.thread_id, "asks", { command: { resume: "Because." }, streamMode: "values" }),
  );
  return {
    asked: asked.flatMap((part) => part.data?.__interrupt__ ?? []),
    status,
    interrupts: Object.values(interrupts).flat(),
    answer: answered.filter((part) => part.event === "values").at(-1).data.messages.at(-1).content,
  };
}

async function joined() {
  const thread = await client.threads.create();
  const run = await client.runs.create(thread.thread_id, "slow", {
    input: said,
    context: { tokens: 8, pause_s: 0.02 },
    streamMode: ["messages-tuple"],
  });
  const parts = await all(client.runs.joinStream(thread.thread_id, run.run_id));
  const text = parts.filter((part) => part.event === "messages").map((part) => part.data[0].content).join("");
  const values = await client.runs.join(thread.thread_id, run.run_id);
  const found = await client.threads.search({ metadata: { graph_id: "slow" }, limit: 1 });
  return { text, last: values.messages.at(-1).content, found: found[0].thread_id === thread.thread_id };
}

async function cancelled() {
  const thread = await client.threads.create();
  const run = await client.runs.create(thread.thread_id, "slow", { input: said, context: { tokens: 500, pause_s: 0.05 } });
  await client.runs.cancel(thread.thread_id, run.run_id, true);
  return (await client.runs.get(thread.thread_id, run.run_id)).status;
}

const [one, two, three, four] = await Promise.all([streamed(), interrupted(), joined(), cancelled()]);
console.log(JSON.stringify({ streamed: one, interrupted: two, joined: three, cancelled: four }));
