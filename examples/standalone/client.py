"""Ask the gateway with OpenAI's own SDK: once for the whole answer, once word by word."""

from __future__ import annotations

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("LLMGW_URL", "http://127.0.0.1:8080/v1"),
    api_key=os.environ["LLMGW_KEY_TEAM_A"],
)


def main() -> None:
    print("models:", ", ".join(model.id for model in client.models.list()))

    answer = client.chat.completions.create(
        model="smart", messages=[{"role": "user", "content": "Say hello in three languages."}]
    )
    print("whole:", answer.choices[0].message.content)

    stream = client.chat.completions.create(
        model="claude-sonnet-4-5",
        messages=[{"role": "user", "content": "Count to five."}],
        stream=True,
        stream_options={"include_usage": True},
    )
    print("streamed:", end=" ")
    for chunk in stream:
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
        if chunk.usage:
            print(f"\ntokens: {chunk.usage.prompt_tokens} in, {chunk.usage.completion_tokens} out")


if __name__ == "__main__":
    main()
