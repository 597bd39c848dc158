"""`python -m asgi_llmgw`."""

from __future__ import annotations

from asgi_llmgw.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
