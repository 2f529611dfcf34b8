// The official Node client against a running server, unmodified.
// Usage: node openai_client.mjs BASE_URL
import assert from "node:assert";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "test-key", maxRetries: 0 });
const model = (await client.models.list()).data[0].id;
const ask = { model, messages: [{ role: "user", content: "Name three fruits." }], temperature: 0, max_tokens: 24 };

const whole = await client.chat.completions.create(ask);
let text = "", usage = null;
for await (const chunk of await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } })) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(text, whole.choices[0].message.content);
assert.equal(usage.completion_tokens, whole.usage.completion_tokens);

const shaped = await client.chat.completions.create({ ...ask, max_tokens: 80, response_format: { type: "json_object" } });
if (shaped.choices[0].finish_reason === "stop") JSON.parse(shaped.choices[0].message.content);

// A client that stops reading.
const stream = await client.chat.completions.create({ ...ask, max_tokens: 2000, stream: true });
for await (const _ of stream) break;

await assert.rejects(client.chat.completions.create({ ...ask, top_p: 7 }), OpenAI.BadRequestError);
const done = await client.completions.create({ model, prompt: "a b c", max_tokens: 3 });
assert.ok(done.choices[0].text.length > 0);
console.log("node client: ok");
