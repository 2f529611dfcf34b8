// The official Anthropic client for Node against a running server, unmodified.
// Usage: node anthropic_client.mjs URL
import assert from "node:assert";
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ baseURL: process.argv[2], apiKey: "test-key", maxRetries: 0 });
const model = (await client.models.list()).data[0].id;
const ask = { model, messages: [{ role: "user", content: "Name three fruits." }], temperature: 0, max_tokens: 24 };

const whole = await client.messages.create(ask);
assert.equal(whole.content[0].type, "text");
let text = "";
const stream = client.messages.stream(ask).on("text", (more) => (text += more));
const final = await stream.finalMessage();
assert.equal(text, whole.content[0].text);
assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
assert.equal(final.stop_reason, whole.stop_reason);

const counted = await client.messages.countTokens({ model, messages: ask.messages });
assert.equal(counted.input_tokens, whole.usage.input_tokens + whole.usage.cache_read_input_tokens);

// A client that stops reading.
for await (const _ of await client.messages.create({ ...ask, max_tokens: 2000, stream: true })) break;

await assert.rejects(client.messages.create({ ...ask, top_p: 7 }), Anthropic.BadRequestError);
await assert.rejects(
  new Anthropic({ baseURL: process.argv[2], apiKey: "wrong", maxRetries: 0 }).messages.create(ask),
  Anthropic.AuthenticationError,
);
console.log("anthropic node client: ok");
