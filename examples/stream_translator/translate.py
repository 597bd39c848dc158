"""Turn a saved Anthropic stream into Chat Completions chunks: no server, no event loop, no API key.

Usage: python translate.py [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

from asgi_llmgw import StreamTranslator

SAVED = Path(__file__).with_name("saved.sse")
CHUNK = 100  # as small as a slow network would cut it, in the middle of lines and of characters


def main(path: Path) -> None:
    translator = StreamTranslator(
        source="anthropic_messages", target="openai_chat", model="my-alias", include_usage=True
    )
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            sys.stdout.buffer.write(translator.feed(chunk))
    sys.stdout.buffer.write(translator.close())
    sys.stdout.buffer.flush()

    finish, usage = translator.finish_reason, translator.usage
    print(f"finish reason: {finish.kind if finish else 'none'}", file=sys.stderr)
    if usage is not None:
        print(f"tokens: {usage.input_tokens} in, {usage.output_tokens} out", file=sys.stderr)
    for item in translator.diagnostics:
        print(f"{item.path}: {item.code}: {item.detail}", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SAVED)
