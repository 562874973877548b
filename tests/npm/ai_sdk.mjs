// A conversation with tools by the AI SDK: node ai_sdk.mjs PACKAGE generate|stream URL MODEL WORDS
// WORDS is JSON: what each tool says, by "name city". Prints JSON: the last text, the tools that ran, the steps, and whether text came in pieces.
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

const [which, mode, url, model, given] = process.argv.slice(2);
const words = JSON.parse(given);
const apiKey = "the-applications-own-key";

const clients = {
  "openai-chat": () => createOpenAI({ baseURL: `${url}/v1`, apiKey }).chat(model),
  "openai-responses": () => createOpenAI({ baseURL: `${url}/v1`, apiKey }).responses(model),
  anthropic: () => createAnthropic({ baseURL: `${url}/v1`, apiKey })(model),
  google: () => createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey })(model),
  "openai-compatible": () => createOpenAICompatible({ name: "envoy", baseURL: `${url}/v1`, apiKey, includeUsage: true })(model),
};

// nobody stores a translated answer, so Responses is told to send its items whole
const thinking = {
  anthropic: { thinking: { type: "enabled", budgetTokens: 2000 } },
  google: { thinkingConfig: { includeThoughts: true, thinkingBudget: 2000 } },
  openai: which === "openai-responses" ? { reasoningEffort: "low", reasoningSummary: "auto", store: false } : { reasoningEffort: "low" },
  envoy: { reasoningEffort: "low" },
};

const ran = [];
const named = (name, description) =>
  tool({
    description,
    inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false }),
    execute: async ({ city }) => {
      ran.push(`${name} ${city}`);
      return { said: words[`${name} ${city}`] };
    },
  });

const asked = {
  model: clients[which](),
  tools: { get_weather: named("get_weather", "tells the weather"), get_time: named("get_time", "tells the time") },
  stopWhen: stepCountIs(6),
  maxRetries: 0,
  maxOutputTokens: 8000,
  providerOptions: thinking,
  prompt: "What are the weather and the time in Paris and in Oslo?",
};

let result;
let pieces = 0;
if (mode === "stream") {
  result = streamText({ ...asked, onError: ({ error }) => { throw error; } });
  for await (const part of result.fullStream) {
    if (part.type === "error") throw part.error;
    if (part.type === "text-delta") pieces += 1;
  }
} else {
  result = await generateText(asked);
}
const [text, steps, finishReason, usage] = await Promise.all([result.text, result.steps, result.finishReason, result.totalUsage]);
console.log(JSON.stringify({ text, ran, steps: steps.length, pieces, finishReason, usage }));
