// The AI SDK against a running server, as it comes: its default model speaks /v1/responses.
// Usage: node ai_sdk.mjs BASE_URL [--tools]
import assert from "node:assert";
import { createOpenAI } from "@ai-sdk/openai";
import { generateObject, generateText, streamText, stepCountIs, tool } from "ai";
import { z } from "zod";

const baseURL = process.argv[2];
const openai = createOpenAI({ baseURL, apiKey: "test-key" });
const list = await fetch(`${baseURL}/models`, { headers: { authorization: "Bearer test-key" } });
const name = (await list.json()).data[0].id;
const model = openai(name);
const ask = { model, temperature: 0, maxOutputTokens: 24, maxRetries: 0 };

const whole = await generateText({ ...ask, prompt: "Name three fruits." });
assert.ok(whole.text.length > 0 && whole.usage.outputTokens > 0);

const streamed = streamText({ ...ask, prompt: "Name three fruits." });
let text = "";
for await (const piece of streamed.textStream) text += piece;
assert.equal(text, whole.text);
assert.equal((await streamed.usage).outputTokens, whole.usage.outputTokens);

// A second turn refers to the first answer by its id, which is what the SDK does by default.
const messages = [{ role: "user", content: "Name three fruits." }, ...whole.response.messages, { role: "user", content: "Another." }];
assert.ok((await generateText({ ...ask, messages })).text.length > 0);

const { object } = await generateObject({ ...ask, maxOutputTokens: 100, schema: z.object({ colour: z.enum(["red", "blue"]) }), prompt: "A colour." });
assert.ok(["red", "blue"].includes(object.colour));

await assert.rejects(generateText({ ...ask, temperature: -1, prompt: "x" }));

if (process.argv.includes("--tools")) {
  const weather = tool({ description: "The weather of a city", inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => `18 degrees in ${city}` });
  const steps = await generateText({ ...ask, maxOutputTokens: 200, tools: { weather }, toolChoice: { type: "tool", toolName: "weather" }, stopWhen: stepCountIs(1), prompt: "What is the weather in Paris?" });
  assert.equal(steps.toolCalls[0].toolName, "weather");
  assert.match(String(steps.toolResults[0].output), /18 degrees/);
  const told = await generateText({ ...ask, messages: [{ role: "user", content: "What is the weather in Paris?" }, ...steps.response.messages] });
  assert.ok(told.text.length > 0);
}
console.log("ai sdk: ok");
