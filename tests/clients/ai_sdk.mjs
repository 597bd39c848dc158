// The Vercel AI SDK with one tool, through one of its providers: node ai_sdk.mjs PROVIDER BASE_URL KEY MODEL TASK
import { writeFileSync } from "node:fs";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [provider, url, apiKey, model, prompt] = process.argv.slice(2);
const models = {
  anthropic: () => createAnthropic({ baseURL: `${url}/v1`, apiKey })(model),
  google: () => createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey })(model),
  responses: () => createOpenAI({ baseURL: `${url}/v1`, apiKey }).responses(model),
  compatible: () => createOpenAICompatible({ name: "gateway", baseURL: `${url}/v1`, apiKey })(model),
};
const result = streamText({
  model: models[provider](),
  prompt,
  // without it the SDK refers to its own last turn by ids that only OpenAI's servers could look up
  providerOptions: { openai: { store: false } },
  stopWhen: stepCountIs(5),
  tools: {
    writeFile: tool({
      description: "Write a file",
      inputSchema: z.object({ path: z.string(), content: z.string() }),
      execute: async ({ path, content }) => {
        writeFileSync(path, content);
        return { written: content.length };
      },
    }),
  },
  onError: ({ error }) => {
    console.error(error);
    process.exitCode = 1;
  },
});
for await (const text of result.textStream) process.stdout.write(text);
console.log(`\n${await result.finishReason} ${JSON.stringify(await result.totalUsage)}`);
