"""Ask both gateways in turn, more often than the key may, and count what comes back."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from itertools import cycle

from openai import APIStatusError, AsyncOpenAI

URLS = os.environ.get("LLMGW_URLS", "http://127.0.0.1:8081/v1 http://127.0.0.1:8082/v1").split()
REQUESTS = 300
AT_ONCE = 12


async def main() -> None:
    key = os.environ["LLMGW_KEY_TEAM_A"]
    # retries are off, so that every refusal is seen
    clients = [AsyncOpenAI(base_url=url, api_key=key, max_retries=0) for url in URLS]
    turns, outcomes, gate = cycle(clients), Counter[str](), asyncio.Semaphore(AT_ONCE)

    async def ask() -> None:
        async with gate:
            try:
                await next(turns).chat.completions.create(
                    model="smart", max_tokens=50, messages=[{"role": "user", "content": "Say hello."}]
                )
                outcomes["served"] += 1
            except APIStatusError as error:
                outcomes[f"{error.status_code}, retry after {error.response.headers.get('retry-after')} s"] += 1

    await asyncio.gather(*(ask() for _ in range(REQUESTS)))
    for outcome, count in outcomes.most_common():
        print(f"{count:5}  {outcome}")
    for client in clients:
        await client.close()


if __name__ == "__main__":
    asyncio.run(main())
