// OpenAI's own Node SDK, unmodified: one request per line of the plan on standard input, one JSON result per line out.
import { createInterface } from "node:readline";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.GATEWAY_URL, apiKey: process.env.GATEWAY_KEY, maxRetries: 0 });

function told(completion) {
  const choice = completion.choices[0];
  return {
    text: choice.message.content ?? "",
    calls: (choice.message.tool_calls ?? []).map((call) => [call.function.name, JSON.parse(call.function.arguments || "{}")]),
    finish: choice.finish_reason,
    usage: completion.usage?.total_tokens ?? null,
  };
}

async function ask({ stream, ...body }) {
  try {
    if (!stream) return told(await client.chat.completions.create(body));
    const runner = client.chat.completions.stream({ ...body, stream_options: { include_usage: true } });
    return told(await runner.finalChatCompletion());
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    return { error: error.constructor.name, status: error.status, message: error.message };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await ask(JSON.parse(line))));
}
