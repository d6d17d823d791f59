// A whole life of a legacy endpoint, by the npm package `together-ai`; prints what it saw as JSON.
import Together from 'together-ai';

const [model, hardware] = process.argv.slice(2);
const client = new Together({ maxRetries: 0 });
const messages = [{ role: 'user', content: 'Why?' }];

async function wait(id, state) {
  for (const until = Date.now() + 60_000; Date.now() < until; ) {
    if ((await client.endpoints.retrieve(id)).state === state) return;
    await new Promise((later) => setTimeout(later, 50));
  }
  throw new Error(`never ${state}`);
}

const fitting = (await client.endpoints.listHardware({ model })).data;
const zones = (await client.endpoints.listAvzones()).avzones;
const endpoint = await client.endpoints.create({
  model,
  hardware,
  autoscaling: { min_replicas: 1, max_replicas: 2 },
  display_name: 'npm',
  inactive_timeout: null,
  disable_speculative_decoding: false,
});
await wait(endpoint.id, 'STARTED');
const answer = await client.chat.completions.create({ model: endpoint.name, messages });
let streamed = '';
const stream = await client.chat.completions.create({ model: endpoint.name, messages, stream: true });
for await (const chunk of stream) streamed += chunk.choices[0].delta.content ?? '';
const text = await client.completions.create({ model: endpoint.name, prompt: 'Once', max_tokens: 4 });
const renamed = await client.endpoints.update(endpoint.id, { display_name: 'npm-2' });
await client.endpoints.update(endpoint.id, { state: 'STOPPED' });
await wait(endpoint.id, 'STOPPED');
const refused = await client.chat.completions
  .create({ model: endpoint.name, messages })
  .catch((error) => [error.status, error.error?.error?.code ?? error.error?.code]);
await client.endpoints.update(endpoint.id, { state: 'STARTED' });
await wait(endpoint.id, 'STARTED');
const listed = (await client.endpoints.list({ type: 'dedicated', mine: true })).data;
await client.endpoints.delete(endpoint.id);
const gone = await client.endpoints.retrieve(endpoint.id).catch((error) => error.status);

console.log(
  JSON.stringify({
    hardware: fitting.map((kind) => kind.id),
    zones,
    endpoint: endpoint.id,
    answer: answer.choices[0].message.content,
    streamed,
    written: text.usage.completion_tokens,
    renamed: renamed.display_name,
    refused,
    listed: listed.map((entry) => entry.id),
    gone,
  }),
);
